"""MoBY, a small Swin, on Shapes: how the recipe looks on two CPU cores.

    python tools/train.py configs/moby/moby_swin-shapes_1xb32-coslr-3e_shapes.py

Three stages at 64 px (maps of 16, 8 and 4 positions a side, windows of 4), 1024-128 heads, queues of 1024
keys; the twin follows faster than on ImageNet, as in the other recipes on Shapes. Nothing of it comes from
the paper.
"""

_base_ = "../_base_/recipes/resnet18_shapes.py"

model = dict(
    type="MoBY",
    data_preprocessor=dict(_delete_=True, **_base_.data_preprocessor),
    backbone=dict(
        _delete_=True,
        type="Swin",
        embed_dims=32,
        depths=(2, 2, 2),
        num_heads=(1, 2, 4),
        window_size=4,
        pretrain_img_size=64,
        drop_path_rate=0.1,
        norm_eps=1e-5,
        out_indices=(2,),
    ),
    neck=dict(
        type="MLPNeck",
        hid_channels=1024,
        out_channels=128,
        norm_cfg=dict(type="BN1d"),
        last_norm_cfg=dict(type="BN1d", affine=False),
    ),
    head=dict(type="MLPPredictor", hid_channels=1024, norm_cfg=dict(type="BN1d")),
    queue_length=1024,
    momentum=dict(type="Cosine", start=0.97, end=1.0),
)
optim_wrapper = dict(
    optimizer=dict(lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(no_decay=["norm", "bias"]),
    clip_grad=dict(max_norm=5.0),
)
train_cfg = dict(max_epochs=3)
