"""COCO Mask R-CNN SE-CoTNetD-101 FPN, 90k iterations, as CoTNet's repository has it; box / mask AP: 46.67 / 41.53.

    tools/dist_train.sh configs/benchmarks/coco_detection/mask-rcnn_se-cotnetd101-fpn_8xb2-90k_coco.py 8 \
        --cfg-options load_from=backbone.pth
"""

_base_ = "./mask-rcnn_cotnet50-fpn_8xb2-90k_coco.py"

model = dict(backbone=dict(arch="d101"))
