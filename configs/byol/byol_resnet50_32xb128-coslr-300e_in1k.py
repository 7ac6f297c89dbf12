"""BYOL, ResNet-50, 300 epochs on ImageNet-1k, LARS.

Bootstrap your own latent (arXiv 2006.07733): 72.5 top-1 in linear evaluation.

    NNODES=4 NODE_RANK=0 MASTER_ADDR=node0 tools/dist_train.sh configs/byol/byol_resnet50_32xb128-coslr-300e_in1k.py 8

32 GPUs x 128 images = 4096; fewer GPUs: --cfg-options optim_wrapper.accumulative_counts=4 keeps the
optimizer's batch but not BatchNorm's. Deviations: README.md of this folder.
"""

_base_ = [
    "../_base_/backbones/resnet50.py",
    "../_base_/datasets/imagenet.py",
    "../_base_/views/byol.py",
    "../_base_/schedules/lars_warmup_cosine.py",
    "../_base_/default_runtime.py",
]

model = dict(
    type="BYOL",
    neck=dict(
        type="MLPNeck",
        hid_channels=4096,
        out_channels=256,
        last_bias=False,
        norm_cfg=dict(type="SyncBN"),
    ),
    head=dict(
        type="MLPPredictor", hid_channels=4096, last_bias=False, norm_cfg=dict(type="SyncBN")
    ),
    momentum=dict(type="Cosine", start=0.99, end=1.0),
    data_preprocessor=_base_.data_preprocessor,
)
train_dataloader = dict(batch_size=128, dataset=dict(views=_base_.byol_views))
# 0.3 x batch / 256
optim_wrapper = dict(optimizer=dict(lr=4.8, weight_decay=1e-6))
param_scheduler = [dict(type="WarmupCosineLR", warmup=10, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=300)
auto_scale_lr = dict(base_batch_size=4096)
