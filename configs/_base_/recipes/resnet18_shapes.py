"""A method on the drawn images of Shapes, on two CPU cores: 500 steps of 32 images at 64 px, ResNet-18.

A few hundred steps must do, so the first targets have to be worth learning: residual blocks start as
identities (a random deep network makes two views of an image as different as two images), and AdamW has a
large step. k-NN accuracy is measured on the way. A leaf gives the method, and what it is to see or to do
otherwise. Nothing of it comes from an article.
"""

_base_ = [
    "../datasets/image_folder.py",
    "../views/shapes.py",
    "../schedules/sgd_warmup_cosine.py",
    "../default_runtime.py",
]

model = dict(
    backbone=dict(type="ResNet", depth=18, out_indices=(3,), zero_init_residual=True),
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
train_cfg = dict(max_epochs=4)
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
