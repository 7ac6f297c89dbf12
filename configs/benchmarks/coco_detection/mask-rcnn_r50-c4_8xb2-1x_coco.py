"""COCO Mask R-CNN R50-C4, 1x, from a self-supervised ResNet-50 (MoCo's protocol).

CARE, 200 / 400 epochs (its readme): box AP 39.4 / 39.6, mask AP 34.6 / 34.7.

    tools/dist_train.sh configs/benchmarks/coco_detection/mask-rcnn_r50-c4_8xb2-1x_coco.py 8 \
        --cfg-options load_from=backbone.pth

8 GPUs x 2 images. Deviations from detectron2: see ../README.md.
"""

_base_ = [
    "mmdet::mask_rcnn/mask-rcnn_r50-caffe-c4_1x_coco.py",
    "../_base_/transfer_mmdet.py",
    "../_base_/finetuned_resnet.py",
    "../_base_/extra_norm_res5.py",
    "../_base_/coco_multiscale.py",
    "../_base_/coco_schedules.py",
]

load_from = "REQUIRED"
model = dict(
    data_preprocessor=_base_.rgb_preprocessor,
    backbone=_base_.finetuned_resnet,
    roi_head=dict(shared_head=_base_.extra_norm_res5),
    train_cfg=dict(rpn=dict(allowed_border=-1)),
)
train_dataloader = dict(dataset=dict(pipeline=_base_.coco_multiscale))
optim_wrapper = dict(paramwise_cfg=dict(norm_decay_mult=0.0))
param_scheduler = _base_.coco_1x
