"""COCO FCOS R50-FPN, 1x, from a self-supervised ResNet-50, or from one with its FPN and towers (PixPro).

FCOS with centre sampling, normalised boxes, centerness on the regression tower and GIoU; norm in the backbone, none
in the FPN, GN in the towers. DenseCL's paper: 40.9 box AP after 200 epochs on ImageNet (MoCo v2 40.3).

    tools/dist_train.sh configs/benchmarks/coco_detection/fcos_r50-fpn_8xb2-1x_coco.py 8 \
        --cfg-options load_from=backbone.pth

8 GPUs x 2 images. Deviations from detectron2: see ../README.md.
"""

_base_ = [
    "mmdet::fcos/fcos_r50-caffe_fpn_gn-head-center-normbbox-centeronreg-giou_1x_coco.py",
    "../_base_/transfer_mmdet.py",
    "../_base_/finetuned_resnet.py",
    "../_base_/coco_multiscale.py",
    "../_base_/coco_schedules.py",
]

load_from = "REQUIRED"
model = dict(data_preprocessor=_base_.rgb_preprocessor, backbone=_base_.finetuned_resnet)
train_dataloader = dict(dataset=dict(pipeline=_base_.coco_multiscale_boxes))
optim_wrapper = dict(paramwise_cfg=dict(norm_decay_mult=0.0))
param_scheduler = _base_.coco_1x
