"""COCO Cascade Mask R-CNN CoTNet-50 FPN, 90k iterations, as CoTNet's repository has it.

From the weights of 350 epochs on ImageNet (arXiv 2107.12292; JDAI-CV/CoTNet), box / mask AP: 46.94 / 40.25.

    tools/dist_train.sh configs/benchmarks/coco_detection/cascade-mask-rcnn_cotnet50-fpn_8xb2-90k_coco.py 8 \
        --cfg-options load_from=backbone.pth

8 GPUs x 2 images. A self-supervised backbone trains its first stage too: model.backbone.frozen_stages=-1.

Theirs adds the losses of three stages and divides the gradient into the features by three, mmdet weighs them 1, 0.5 and
0.25; theirs has one mask head, mmdet one in each stage.
"""

_base_ = [
    "mmdet::cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py",
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
    rpn_head=_base_.cotnet_rpn,
    roi_head=dict(bbox_head=_base_.cotnet_box_heads, mask_head=_base_.cotnet_mask_head),
)
train_dataloader = dict(
    sampler=_base_.coco_90k_sampler, dataset=dict(pipeline=_base_.coco_multiscale)
)
train_cfg = _base_.coco_90k_loop
param_scheduler = _base_.coco_90k
optim_wrapper = dict(paramwise_cfg=dict(norm_decay_mult=0.0))
default_hooks = dict(checkpoint=_base_.coco_90k_checkpoint)
log_processor = _base_.coco_90k_log
