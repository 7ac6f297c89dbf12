"""COCO Mask R-CNN R50-FPN, 180k iterations: the 2x of MoCo's paper to the iteration.

    tools/dist_train.sh configs/benchmarks/coco_detection/mask-rcnn_r50-fpn-4conv1fc_8xb2-180k_coco.py 8 \
        --cfg-options load_from=backbone.pth
"""

_base_ = "./mask-rcnn_r50-fpn-4conv1fc_8xb2-90k_coco.py"

train_cfg = dict(max_iters=180000)
param_scheduler = _base_.coco_180k
