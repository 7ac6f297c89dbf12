"""The single objects of Shapes (64 px) in class folders."""

_base_ = "./classifier_data.py"

train_dataloader = dict(
    num_workers=1,
    dataset=dict(
        root="data/shapes/classify/train",
        views=dict(
            _delete_=True,
            type="MultiView",
            boxes=None,
            views=[
                dict(
                    num=1,
                    transforms=[
                        dict(type="RandomResizedCrop", size=64, scale=(0.4, 1.0)),
                        dict(type="HorizontalFlip", prob=0.5),
                    ],
                )
            ],
        ),
    ),
)
val_dataloader = dict(
    num_workers=1,
    dataset=dict(
        root="data/shapes/classify/val",
        views=dict(
            _delete_=True,
            type="MultiView",
            boxes=None,
            views=[dict(num=1, transforms=[dict(type="Resize", size=[64, 64])])],
        ),
    ),
)
