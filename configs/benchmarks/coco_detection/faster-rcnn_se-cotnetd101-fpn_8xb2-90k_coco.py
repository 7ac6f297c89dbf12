"""COCO Faster R-CNN SE-CoTNetD-101 FPN, 90k iterations, as CoTNet's repository has it; box AP: 45.66.

    tools/dist_train.sh configs/benchmarks/coco_detection/faster-rcnn_se-cotnetd101-fpn_8xb2-90k_coco.py 8 \
        --cfg-options load_from=backbone.pth
"""

_base_ = "./faster-rcnn_cotnet50-fpn_8xb2-90k_coco.py"

model = dict(backbone=dict(arch="d101"))
