"""DINO, Swin-T (window 7), 300 epochs: EsViT's view-level task alone (L_V). Published linear / k-NN: 77.0 / 74.2.

Efficient Self-supervised Vision Transformers for Representation Learning (arXiv 2106.09785), table 1.

    tools/dist_train.sh configs/dino/dino_swin-tiny-w7_16xb32-coslr-300e_in1k.py 16 --amp fp16

16 GPUs x 32 images, 2 x 224 + 8 x 96 px. Deviations: README.md of configs/esvit.
"""

_base_ = [
    "../_base_/datasets/imagenet.py",
    "../_base_/views/dino.py",
    "../_base_/schedules/adamw_warmup_cosine.py",
    "../_base_/default_runtime.py",
]

model = dict(
    type="DINO",
    backbone=dict(type="Swin", window_size=7, drop_path_rate=0.1),
    head=dict(type="DINOHead", out_channels=65536, norm_last_layer=False),
    teacher_temperature=dict(type="LinearWarmup", start=0.04, end=0.07, num_steps=30),
    momentum=dict(type="Cosine", start=0.996, end=1.0),
    data_preprocessor=_base_.data_preprocessor,
)
train_dataloader = dict(batch_size=32, dataset=dict(views=_base_.dino_views))
optim_wrapper = dict(
    optimizer=dict(lr=1e-3, weight_decay=0.04),  # 5e-4 x batch / 256
    clip_grad=dict(type="per_tensor", max_norm=3.0),
)
param_scheduler = [
    dict(
        type="WarmupCosineLR",
        warmup=10,
        eta_min=1e-6,
        peak_twice=True,
        convert_to_iter_based=True,
    ),
    dict(type="WarmupCosineLR", param_name="weight_decay", eta_min=0.4, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=300)
auto_scale_lr = dict(base_batch_size=512)
custom_hooks = [dict(type="FreezeHook", modules=["head.last_layer"], epochs=1)]
default_hooks = dict(
    checkpoint=dict(interval=20, max_keep_ckpts=-1)
)  # to be continued with regions
