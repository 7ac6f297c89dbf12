"""COCO Cascade Mask R-CNN CoTNeXt-50 FPN, 90k iterations, as CoTNet's repository has it; box / mask AP: 47.63 / 40.76.

    tools/dist_train.sh configs/benchmarks/coco_detection/cascade-mask-rcnn_cotnext50-fpn_8xb2-90k_coco.py 8 \
        --cfg-options load_from=backbone.pth
"""

_base_ = "./cascade-mask-rcnn_cotnet50-fpn_8xb2-90k_coco.py"

model = dict(backbone=dict(arch="x50"))
