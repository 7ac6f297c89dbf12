"""MoBY, Swin-T, 300 epochs on ImageNet-1k: the setting of paper and released code.

Self-Supervised Learning with Swin Transformers (arXiv 2105.04553): 75.0 top-1 in linear evaluation (75.3 in
the authors' model zoo).

    tools/dist_train.sh configs/moby/moby_swin-tiny-w7_8xb64-coslr-300e_in1k.py 8 --amp fp16

8 GPUs x 64 images. Deviations: README.md of this folder.
"""

_base_ = [
    "../_base_/datasets/imagenet.py",
    "../_base_/views/byol.py",
    "../_base_/schedules/adamw_warmup_cosine.py",
    "../_base_/default_runtime.py",
]

model = dict(
    type="MoBY",
    backbone=dict(type="Swin", drop_path_rate=0.2, norm_eps=1e-5),
    neck=dict(type="MLPNeck", hid_channels=4096, out_channels=256, norm_cfg=dict(type="SyncBN")),
    head=dict(type="MLPPredictor", hid_channels=4096, norm_cfg=dict(type="SyncBN")),
    queue_length=4096,
    temperature=0.2,
    momentum=dict(type="Cosine", start=0.99, end=1.0),
    data_preprocessor=_base_.data_preprocessor,
)
train_dataloader = dict(batch_size=64, dataset=dict(views=_base_.moby_views))
# 1e-3 x batch / 512; both ends of the schedule, 5e-7 and 5e-6, follow it
optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=0.05), clip_grad=dict(max_norm=5.0))
param_scheduler = [
    dict(
        type="WarmupCosineLR",
        warmup=5,
        start_ratio=5e-4,
        eta_min_ratio=5e-3,
        cosine_from_start=True,
        convert_to_iter_based=True,
    )
]
train_cfg = dict(max_epochs=300)
auto_scale_lr = dict(base_batch_size=512)
