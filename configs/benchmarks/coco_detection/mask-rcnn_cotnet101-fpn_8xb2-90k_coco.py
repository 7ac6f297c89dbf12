"""COCO Mask R-CNN CoTNet-101 FPN, 90k iterations, as CoTNet's repository has it; box / mask AP: 46.17 / 40.86.

    tools/dist_train.sh configs/benchmarks/coco_detection/mask-rcnn_cotnet101-fpn_8xb2-90k_coco.py 8 \
        --cfg-options load_from=backbone.pth
"""

_base_ = "./mask-rcnn_cotnet50-fpn_8xb2-90k_coco.py"

model = dict(backbone=dict(arch="101"))
# any size between 640 and 800 here
train_dataloader = dict(dataset=dict(pipeline=_base_.coco_range))
