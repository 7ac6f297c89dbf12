"""CARE's two views (official code): blur before grayscale, mirror late, bilinear crops."""

care_views = dict(
    type="MultiView",
    views=[
        dict(
            num=1,
            transforms=[
                dict(
                    type="RandomResizedCrop", size=224, scale=(0.08, 1.0), interpolation="bilinear"
                ),
                dict(
                    type="ColorJitter",
                    brightness=0.4,
                    contrast=0.4,
                    saturation=0.2,
                    hue=0.1,
                    prob=0.8,
                ),
                dict(type="GaussianBlur", sigma=(0.1, 2.0), prob=1.0),
                dict(type="RandomGrayscale", prob=0.2),
                dict(type="HorizontalFlip", prob=0.5),
                dict(type="Solarize", threshold=128, prob=0.0),
            ],
        ),
        dict(
            num=1,
            transforms=[
                dict(
                    type="RandomResizedCrop", size=224, scale=(0.08, 1.0), interpolation="bilinear"
                ),
                dict(
                    type="ColorJitter",
                    brightness=0.4,
                    contrast=0.4,
                    saturation=0.2,
                    hue=0.1,
                    prob=0.8,
                ),
                dict(type="GaussianBlur", sigma=(0.1, 2.0), prob=0.1),
                dict(type="RandomGrayscale", prob=0.2),
                dict(type="HorizontalFlip", prob=0.5),
                dict(type="Solarize", threshold=128, prob=0.2),
            ],
        ),
    ],
)
