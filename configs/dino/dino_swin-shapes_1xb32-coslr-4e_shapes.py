_base_ = [
    "../_base_/datasets/image_folder.py",
    "../_base_/views/shapes.py",
    "../_base_/schedules/adamw_warmup_cosine.py",
    "../_base_/default_runtime.py",
]
local_view = dict(
    num=4,
    transforms=[
        dict(type="RandomResizedCrop", size=32, scale=(0.25, 0.6), interpolation="bilinear"),
        *_base_.shapes_views["views"][0]["transforms"][1:],
    ],
)
views = dict(type="MultiView", boxes=None, views=[_base_.shapes_views["views"][0], local_view])
model = dict(
    type="DINO",
    backbone=dict(
        type="Swin",
        embed_dims=32,
        depths=(2, 2, 2),
        num_heads=(1, 2, 4),
        window_size=4,
        pretrain_img_size=64,
        drop_path_rate=0.0,
        out_indices=(2,),
    ),
    head=dict(out_channels=1024, hid_channels=512, bottleneck_channels=128, use_bn=True),
    teacher_temperature=dict(type="LinearWarmup", start=0.04, end=0.07, num_steps=3),
    momentum=dict(type="Cosine", start=0.97, end=1.0),
    data_preprocessor=_base_.data_preprocessor,
)
train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    dataset=dict(root="data/shapes/unlabelled", views=views),
)
optim_wrapper = dict(
    optimizer=dict(lr=3e-3, weight_decay=0.04),
    clip_grad=dict(type="per_tensor", max_norm=3.0),
)
param_scheduler = [
    dict(
        type="WarmupCosineLR", warmup=0.5, eta_min=1e-6, peak_twice=True, convert_to_iter_based=True
    ),
    dict(type="WarmupCosineLR", param_name="weight_decay", eta_min=0.4, convert_to_iter_based=True),
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
        branch="twin",
        interval=1,
        num_train=1200,
        num_val=480,
    )
]
default_hooks = dict(logger=dict(interval=20))
