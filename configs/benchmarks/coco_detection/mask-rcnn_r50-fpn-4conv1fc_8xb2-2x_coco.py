"""COCO Mask R-CNN R50-FPN with norm in the heads, 2x: as 1x, 24 epochs."""

_base_ = "./mask-rcnn_r50-fpn-4conv1fc_8xb2-1x_coco.py"

train_cfg = dict(max_epochs=24)
param_scheduler = _base_.coco_2x
