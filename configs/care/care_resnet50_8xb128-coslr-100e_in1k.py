"""CARE, ResNet-50, 100 epochs on ImageNet-1k: the paper's best setting.

Revitalizing CNN Attentions via Transformers in Self-Supervised Visual Representation Learning
(arXiv 2110.05340), linear evaluation table: 72.02 top-1, 90.02 top-5 (authors' model zoo).

    tools/dist_train.sh configs/care/care_resnet50_8xb128-coslr-100e_in1k.py 8 --amp fp16

8 GPUs x 128 images. Deviations: README.md of this folder; the released code's own setting is
care_resnet50_8xb128-coslr-100e_in1k_official.py.
"""

_base_ = [
    "../_base_/backbones/resnet50.py",
    "../_base_/datasets/imagenet.py",
    "../_base_/views/care.py",
    "../_base_/schedules/sgd_warmup_cosine.py",
    "../_base_/default_runtime.py",
]

model = dict(
    type="CARE",
    backbone=dict(out_indices=(2, 3)),
    t_stream=dict(
        type="AttentionStack",
        in_stage=2,
        fmap_size=14,
        num_blocks=5,
        num_heads=4,
        head_dim=128,
        proj_factor=4,
        downsample=True,
        pos_enc="relative",
        norm_cfg=dict(type="BN"),
    ),
    projector=dict(hid_channels=4096, out_channels=256, norm_cfg=dict(type="SyncBN")),
    predictor=dict(hid_channels=4096, norm_cfg=dict(type="SyncBN")),
    lambda_att=100.0,
    momentum=dict(type="Cosine", start=0.99, end=1.0),
    data_preprocessor=_base_.data_preprocessor,
)
train_dataloader = dict(batch_size=128, dataset=dict(views=_base_.care_views))
# 0.05 x batch / 256; every parameter is decayed, norms and biases too
optim_wrapper = dict(optimizer=dict(lr=0.2, weight_decay=1e-4))
param_scheduler = [
    dict(type="WarmupCosineLR", warmup=10, start_value=1e-6, convert_to_iter_based=True)
]
train_cfg = dict(max_epochs=100)
auto_scale_lr = dict(base_batch_size=1024)
