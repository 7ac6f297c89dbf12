"""Barlow Twins, ResNet-50, 1000 epochs on ImageNet-1k, LARS: the setting of article and released code.

Barlow Twins: Self-Supervised Learning via Redundancy Reduction (arXiv 2103.03230): 73.2 top-1 in linear evaluation, 73.5
of the released model.

    NNODES=4 NODE_RANK=0 MASTER_ADDR=node0 tools/dist_train.sh configs/barlow_twins/barlow-twins_resnet50_32xb64-coslr-1000e_in1k.py 8 --amp fp16

32 GPUs x 64 images = 2048. The rate of biases and norms belongs to 32 processes: README.md of this folder.
"""

_base_ = [
    "../_base_/backbones/resnet50.py",
    "../_base_/datasets/imagenet.py",
    "../_base_/views/byol.py",
    "../_base_/schedules/lars_warmup_cosine.py",
    "../_base_/default_runtime.py",
]

model = dict(
    type="BarlowTwins",
    backbone=dict(zero_init_residual=True),
    neck=dict(type="MLPNeck", hid_channels=8192, out_channels=8192),
    norm_cfg=dict(type="SyncBN"),
    off_diagonal_weight=0.0051,
    data_preprocessor=_base_.data_preprocessor,
)
train_dataloader = dict(batch_size=64, dataset=dict(views=_base_.byol_views))
# 0.2 x batch / 256 for weights, 0.0048 x batch / 256 for biases and norms
optim_wrapper = dict(
    optimizer=dict(lr=1.6, weight_decay=1e-6),
    paramwise_cfg=dict(lr_mult_by_kind=dict(bias=0.024, norm=0.024, position=0.024)),
)
param_scheduler = [
    dict(type="WarmupCosineLR", warmup=10, eta_min_ratio=0.001, convert_to_iter_based=True)
]
train_cfg = dict(max_epochs=1000)
auto_scale_lr = dict(base_batch_size=2048)
