"""COCO Faster R-CNN CoTNet-50 FPN, 90k iterations, as CoTNet's repository has it.

From the weights of 350 epochs on ImageNet (arXiv 2107.12292; JDAI-CV/CoTNet), box AP: 43.50.

    tools/dist_train.sh configs/benchmarks/coco_detection/faster-rcnn_cotnet50-fpn_8xb2-90k_coco.py 8 \
        --cfg-options load_from=backbone.pth

8 GPUs x 2 images. A self-supervised backbone trains its first stage too: model.backbone.frozen_stages=-1.
"""

_base_ = [
    "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
    "../_base_/transfer_mmdet.py",
    "../_base_/finetuned_cotnet.py",
    "../_base_/finetuned_resnet.py",
    "../_base_/coco_cotnet.py",
    "../_base_/coco_multiscale.py",
    "../_base_/coco_schedules.py",
]

load_from = "REQUIRED"
model = dict(
    data_preprocessor=_base_.rgb_preprocessor,
    backbone=_base_.finetuned_cotnet,
    neck=dict(norm_cfg=_base_.cotnet_norm),
    roi_head=dict(bbox_head=_base_.cotnet_box_head),
)
train_dataloader = dict(
    sampler=_base_.coco_90k_sampler, dataset=dict(pipeline=_base_.coco_range_boxes)
)
train_cfg = _base_.coco_90k_loop
param_scheduler = _base_.coco_90k
optim_wrapper = dict(paramwise_cfg=dict(norm_decay_mult=0.0))
default_hooks = dict(checkpoint=_base_.coco_90k_checkpoint)
log_processor = _base_.coco_90k_log
