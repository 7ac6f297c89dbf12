"""COCO DETR CoTNet-50, 150 epochs: mmdet's recipe of ResNet-50 with another backbone.

    tools/dist_train.sh configs/benchmarks/coco_detection/detr_cotnet50_8xb2-150e_coco.py 8 \
        --cfg-options load_from=backbone.pth

8 GPUs x 2 images. All of the backbone is trained, as in the leaf of ResNet-50 beside it. No published figure.
"""

_base_ = [
    "mmdet::detr/detr_r50_8xb2-150e_coco.py",
    "../_base_/transfer_mmdet.py",
    "../_base_/finetuned_cotnet.py",
]

load_from = "REQUIRED"
model = dict(backbone=dict(_base_.finetuned_cotnet, out_indices=(3,), frozen_stages=-1))
