"""CARE, ResNet-18, on the drawn images of Shapes: the demo's recipe for two CPU cores.

    python tools/train.py configs/care/care_resnet18_1xb32-coslr-3e_shapes.py

Small in everything: 64 px (a 4x4 map for the T-stream), 2 attention blocks, 1024-256 heads, 1 x 32 images.
A few hundred steps must do, so the first targets have to be worth learning: residual blocks start as
identities (a random deep network makes two views of an image as different as two images), a norm
stands behind the projectors, the twin follows faster, and AdamW has a large step.
Its results are in the README; nothing of it comes from the paper.
"""

_base_ = [
    "../_base_/datasets/image_folder.py",
    "../_base_/views/shapes.py",
    "../_base_/schedules/sgd_warmup_cosine.py",
    "../_base_/default_runtime.py",
]

model = dict(
    type="CARE",
    backbone=dict(type="ResNet", depth=18, out_indices=(2, 3), zero_init_residual=True),
    t_stream=dict(
        type="AttentionStack",
        in_stage=2,
        fmap_size=4,
        num_blocks=2,
        num_heads=4,
        head_dim=32,
        proj_factor=4,
        pos_enc="relative",
    ),
    projector=dict(
        hid_channels=1024,
        out_channels=256,
        norm_cfg=dict(type="BN1d"),
        last_norm_cfg=dict(type="BN1d", affine=False),
    ),
    predictor=dict(hid_channels=1024, norm_cfg=dict(type="BN1d")),
    lambda_att=100.0,
    momentum=dict(type="Cosine", start=0.97, end=1.0),
    data_preprocessor=dict(_base_.data_preprocessor, channels_last=True),
)
train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    dataset=dict(root="data/shapes/unlabelled", views=_base_.shapes_views),
)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=2e-3, weight_decay=0.01),
    paramwise_cfg=dict(no_decay=["norm", "bias", "position"]),
)
param_scheduler = [
    dict(type="WarmupCosineLR", warmup=0.5, start_value=1e-6, convert_to_iter_based=True)
]
train_cfg = dict(max_epochs=3)
shapes_crop = dict(
    type="MultiView",
    boxes=None,
    views=[dict(num=1, transforms=[dict(type="Resize", size=[64, 64])])],
)
custom_hooks = [
    dict(
        type="KNNHook",
        train=dict(
            type="ImageFolder", root="data/shapes/classify/train", labels=True, views=shapes_crop
        ),
        val=dict(
            type="ImageFolder", root="data/shapes/classify/val", labels=True, views=shapes_crop
        ),
        branch="online",
        interval=1,
        num_train=1200,
        num_val=480,
    )
]
default_hooks = dict(logger=dict(interval=20))
