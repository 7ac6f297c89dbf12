"""PixPro, ResNet-50, 100 epochs on ImageNet-1k: the recipe of article and released code.

Propagate Yourself: Exploring Pixel-Level Consistency for Unsupervised Visual Representation Learning
(arXiv 2011.10043), VOC07+12 detection, C4: 58.8 AP; COCO, Mask R-CNN 1x: 40.8 box AP (FPN), 40.0 (C4).

    tools/dist_train.sh configs/pixpro/pixpro_resnet50_8xb128-coslr-100e_in1k.py 8 --amp fp16

8 GPUs x 128 images. Deviations: README.md of this folder.
"""

_base_ = [
    "../_base_/backbones/resnet50.py",
    "../_base_/datasets/imagenet.py",
    "../_base_/views/pixpro.py",
    "../_base_/schedules/lars_warmup_cosine.py",
    "../_base_/default_runtime.py",
]

model = dict(
    type="PixPro",
    backbone=dict(zero_init_residual=True),
    neck=dict(
        type="ConvMLPNeck", hid_channels=4096, out_channels=256, norm_cfg=dict(type="SyncBN")
    ),
    head=dict(type="PixelPropagation", num_layers=1, gamma=2.0, clamp=0.0),
    pos_ratio=0.7,
    momentum=dict(type="Cosine", start=0.99, end=1.0),
    data_preprocessor=_base_.data_preprocessor,
)
train_dataloader = dict(batch_size=128, dataset=dict(views=_base_.pixpro_views))
# 1.0 x batch / 256; the warm-up starts at a hundredth of it
optim_wrapper = dict(optimizer=dict(lr=4.0, weight_decay=1e-5))
param_scheduler = [
    dict(
        type="WarmupCosineLR",
        warmup=5,
        start_ratio=0.01,
        eta_min=1e-6,
        convert_to_iter_based=True,
    )
]
train_cfg = dict(max_epochs=100)
auto_scale_lr = dict(base_batch_size=1024)
