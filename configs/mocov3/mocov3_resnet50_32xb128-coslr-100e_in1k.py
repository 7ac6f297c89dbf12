"""MoCo v3, ResNet-50, 100 epochs on ImageNet-1k, LARS: the setting of the released code.

An Empirical Study of Training Self-Supervised Vision Transformers (arXiv 2104.02057): 68.9 top-1 in linear evaluation.

    NNODES=4 NODE_RANK=0 MASTER_ADDR=node0 tools/dist_train.sh configs/mocov3/mocov3_resnet50_32xb128-coslr-100e_in1k.py 8 --amp fp16

32 GPUs x 128 images = 4096, all of which are negatives; accumulation has fewer. Deviations: README.md of this folder.
"""

_base_ = [
    "../_base_/backbones/resnet50.py",
    "../_base_/datasets/imagenet.py",
    "../_base_/views/mocov3.py",
    "../_base_/schedules/lars_warmup_cosine.py",
    "../_base_/default_runtime.py",
]

model = dict(
    type="MoCoV3",
    backbone=dict(zero_init_residual=True),
    neck=dict(type="MLPNeck", hid_channels=4096, out_channels=256, norm_cfg=dict(type="SyncBN")),
    head=dict(
        type="MLPPredictor",
        hid_channels=4096,
        norm_cfg=dict(type="SyncBN"),
        last_norm_cfg=None,
    ),
    temperature=1.0,
    momentum=dict(type="Cosine", start=0.99, end=1.0),
    data_preprocessor=_base_.data_preprocessor,
)
train_dataloader = dict(batch_size=128, dataset=dict(views=_base_.mocov3_resnet_views))
# 0.6 x batch / 256
optim_wrapper = dict(optimizer=dict(lr=9.6, weight_decay=1e-6))
param_scheduler = [dict(type="WarmupCosineLR", warmup=10, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=100)
auto_scale_lr = dict(base_batch_size=4096)
