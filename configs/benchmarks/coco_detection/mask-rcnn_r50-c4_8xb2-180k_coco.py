"""COCO Mask R-CNN R50-C4, 180k iterations: the 2x of MoCo to the iteration.

    tools/dist_train.sh configs/benchmarks/coco_detection/mask-rcnn_r50-c4_8xb2-180k_coco.py 8 \
        --cfg-options load_from=backbone.pth
"""

_base_ = "./mask-rcnn_r50-c4_8xb2-90k_coco.py"

train_cfg = dict(max_iters=180000)
param_scheduler = _base_.coco_180k
