"""MoCo v2's two views (Chen et al. 2020, arXiv 2003.04297; official code), also SimSiam's."""

mocov2_views = dict(
    type="MultiView",
    views=[
        dict(
            num=2,
            transforms=[
                dict(
                    type="RandomResizedCrop", size=224, scale=(0.2, 1.0), interpolation="bilinear"
                ),
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
        ),
    ],
)
