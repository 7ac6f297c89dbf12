"""Places205 by its lists of `path label`, images of 256 x 256 px, and the views of two protocols."""

_base_ = "./classifier_data.py"

strong_crop = dict(
    type="MultiView",
    boxes=None,
    views=[
        dict(
            num=1,
            transforms=[
                dict(type="RandomCrop", size=224),
                dict(
                    type="ColorJitter",
                    brightness=0.4,
                    contrast=0.4,
                    saturation=0.4,
                    hue=0.1,
                    prob=0.8,
                ),
                dict(type="RandomGrayscale", prob=0.2),
                dict(type="GaussianBlur", sigma=(0.1, 2.0), prob=0.5),
                dict(type="HorizontalFlip", prob=0.5),
            ],
        )
    ],
)
square_crop = dict(
    type="MultiView",
    boxes=None,
    views=[
        dict(
            num=1,
            transforms=[dict(type="Resize", size=[256, 256]), dict(type="CenterCrop", size=224)],
        )
    ],
)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="ImageList",
        file="data/places205/trainvalsplit_places205/train_places205.csv",
        root="data/places205/images256",
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="ImageList",
        file="data/places205/trainvalsplit_places205/val_places205.csv",
        root="data/places205/images256",
        max_bad_ratio=0.0,
    )
)
