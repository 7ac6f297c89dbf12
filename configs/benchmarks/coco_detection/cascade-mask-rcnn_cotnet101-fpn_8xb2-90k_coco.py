"""COCO Cascade Mask R-CNN CoTNet-101 FPN, 90k iterations, as CoTNet's repository has it; box / mask AP: 48.97 / 41.98.

    tools/dist_train.sh configs/benchmarks/coco_detection/cascade-mask-rcnn_cotnet101-fpn_8xb2-90k_coco.py 8 \
        --cfg-options load_from=backbone.pth
"""

_base_ = "./cascade-mask-rcnn_cotnet50-fpn_8xb2-90k_coco.py"

model = dict(backbone=dict(arch="101"))
