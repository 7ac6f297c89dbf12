"""COCO Cascade R-CNN CoTNeXt-50 FPN, 90k iterations, as CoTNet's repository has it; box AP: 46.79.

    tools/dist_train.sh configs/benchmarks/coco_detection/cascade-rcnn_cotnext50-fpn_8xb2-90k_coco.py 8 \
        --cfg-options load_from=backbone.pth
"""

_base_ = "./cascade-rcnn_cotnet50-fpn_8xb2-90k_coco.py"

model = dict(backbone=dict(arch="x50"))
