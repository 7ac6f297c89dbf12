"""DINO, a small Swin, on the drawn images of Shapes: a recipe for two CPU cores.

    python tools/train.py configs/dino/dino_swin-shapes_1xb32-coslr-4e_shapes.py

64 px, three stages (a last map of 4 x 4 regions), 2 large and 4 small views, 1 x 32 images, 500 steps. A few
hundred steps must do, so: a large step, BatchNorm in the heads (without it the rows before the prototypes
are nearly equal at first, and so are all answers of the teacher), small views that hold an object, a twin
that follows faster. Nothing of it comes from the paper; figures: configs/esvit/README.md.
"""

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
labelled = dict(type="ImageFolder", labels=True, views=shapes_crop)
train_images = dict(labelled, root="data/shapes/classify/train")
val_images = dict(labelled, root="data/shapes/classify/val")
evaluation = dict(train_dataset=train_images, val_dataset=val_images)
custom_hooks = [
    dict(
        type="KNNHook",
        train=train_images,
        val=val_images,
        branch="twin",
        num_train=1200,
        num_val=480,
    )
]
default_hooks = dict(logger=dict(interval=20))
