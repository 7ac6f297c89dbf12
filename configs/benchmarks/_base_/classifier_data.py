"""Labelled images in class folders: crops of 8 % or more and flips; centre of the resized image."""

train_crop = dict(
    type="MultiView",
    boxes=None,
    views=[
        dict(
            num=1,
            transforms=[
                dict(type="RandomResizedCrop", size=224, scale=(0.08, 1.0)),
                dict(type="HorizontalFlip", prob=0.5),
            ],
        )
    ],
)
val_crop = dict(
    type="MultiView",
    boxes=None,
    views=[
        dict(num=1, transforms=[dict(type="Resize", size=256), dict(type="CenterCrop", size=224)])
    ],
)
train_dataloader = dict(
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type="CounterSampler", shuffle=True),
    collate_fn=dict(type="default_collate"),
    dataset=dict(
        type="ImageFolder",
        root="data/imagenet/train",
        labels=True,
        views=train_crop,
    ),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type="CounterSampler", shuffle=False),
    collate_fn=dict(type="default_collate"),
    dataset=dict(
        type="ImageFolder", root="data/imagenet/val", labels=True, max_bad_ratio=0.0, views=val_crop
    ),
)
val_cfg = dict(type="ValLoop")
val_evaluator = dict(type="TopKAccuracy")
