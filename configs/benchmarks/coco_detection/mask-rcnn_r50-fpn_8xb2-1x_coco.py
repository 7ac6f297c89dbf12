"""COCO Mask R-CNN R50-FPN, 1x, from a self-supervised ResNet-50.

Norm in backbone and FPN, plain 2-fc box head: InfoMin, PyContrast and MMSelfSup files. CARE, 200 /
400 epochs (its readme, which does not name the head): box AP 39.5 / 39.8, mask AP 35.9 / 36.2.

    tools/dist_train.sh configs/benchmarks/coco_detection/mask-rcnn_r50-fpn_8xb2-1x_coco.py 8 \
        --cfg-options load_from=backbone.pth

8 GPUs x 2 images. Deviations from detectron2: see ../README.md.
"""

_base_ = [
    "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py",
    "../_base_/transfer_mmdet.py",
    "../_base_/finetuned_resnet.py",
    "../_base_/coco_multiscale.py",
    "../_base_/coco_schedules.py",
]

load_from = "REQUIRED"
model = dict(
    data_preprocessor=_base_.rgb_preprocessor,
    backbone=_base_.finetuned_resnet,
    neck=dict(norm_cfg=dict(type="SyncBN", requires_grad=True)),
)
train_dataloader = dict(dataset=dict(pipeline=_base_.coco_multiscale))
optim_wrapper = dict(paramwise_cfg=dict(norm_decay_mult=0.0))
param_scheduler = _base_.coco_1x
