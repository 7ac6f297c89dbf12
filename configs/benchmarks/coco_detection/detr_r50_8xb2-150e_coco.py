"""COCO DETR R50, 150 epochs, from a self-supervised ResNet-50.

mmdet's own recipe (AdamW, backbone lr 1e-5), in which the supervised backbone keeps its norms; here they are trained.

    tools/dist_train.sh configs/benchmarks/coco_detection/detr_r50_8xb2-150e_coco.py 8 \
        --cfg-options load_from=backbone.pth

8 GPUs x 2 images. No published figure with such a backbone.
"""

_base_ = [
    "mmdet::detr/detr_r50_8xb2-150e_coco.py",
    "../_base_/transfer_mmdet.py",
    "../_base_/finetuned_resnet.py",
]

load_from = "REQUIRED"
model = dict(backbone=_base_.finetuned_resnet)
