"""MoCo v3, ViT-S/16 with 12 heads, 300 epochs on ImageNet-1k. Published: 73.2 top-1 in linear evaluation (73.4 in the article).

    NNODES=4 NODE_RANK=0 MASTER_ADDR=node0 tools/dist_train.sh configs/mocov3/mocov3_vit-small-p16_32xb128-coslr-300e_in1k.py 8 --amp fp16

32 GPUs x 128 images = 4096 (1024 works, too); AdamW decays every parameter, and the projection of patches is frozen.
"""

_base_ = [
    "../_base_/datasets/imagenet.py",
    "../_base_/views/mocov3.py",
    "../_base_/schedules/adamw_warmup_cosine.py",
    "../_base_/default_runtime.py",
]

model = dict(
    type="MoCoV3",
    backbone=dict(
        type="VisionTransformer",
        embed_dims=384,
        depth=12,
        num_heads=12,
        drop_path_rate=0.0,
        positions="sincos",
        frozen_patch_embed=True,
        weight_init="xavier",
    ),
    neck=dict(
        type="MLPNeck",
        num_layers=3,
        hid_channels=4096,
        out_channels=256,
        norm_cfg=dict(type="SyncBN"),
    ),
    head=dict(type="MLPPredictor", hid_channels=4096, norm_cfg=dict(type="SyncBN")),
    temperature=0.2,
    momentum=dict(type="Cosine", start=0.99, end=1.0),
    data_preprocessor=_base_.data_preprocessor,
)
train_dataloader = dict(batch_size=128, dataset=dict(views=_base_.mocov3_vit_views))
# 1.5e-4 x batch / 256
optim_wrapper = dict(optimizer=dict(lr=2.4e-3, weight_decay=0.1), paramwise_cfg=dict(_delete_=True))
param_scheduler = [dict(type="WarmupCosineLR", warmup=40, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=300)
auto_scale_lr = dict(base_batch_size=4096)
