"""COCO Mask R-CNN R50-FPN with norm in the heads, 90k iterations: the 1x of MoCo and PixPro to the iteration.

PixPro's tables (box / mask AP): 40.8 / 36.8 after 100 epochs of pretraining; with the instance loss 41.3 / 37.1
after 100, 41.4 / 37.4 after 400.

    tools/dist_train.sh configs/benchmarks/coco_detection/mask-rcnn_r50-fpn-4conv1fc_8xb2-90k_coco.py 8 \
        --cfg-options load_from=backbone.pth
"""

_base_ = "./mask-rcnn_r50-fpn-4conv1fc_8xb2-1x_coco.py"

train_cfg = _base_.coco_90k_loop
param_scheduler = _base_.coco_90k
train_dataloader = dict(sampler=_base_.coco_90k_sampler)
default_hooks = dict(checkpoint=_base_.coco_90k_checkpoint)
log_processor = _base_.coco_90k_log
