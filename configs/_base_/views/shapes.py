"""Two views of Shapes, 64 px: CARE's pipeline with every hue and crops of at least 30 % of a scene.

The classes of Shapes are contours and textures, never colours. The full turn of the hue takes away
what would otherwise tell two scenes apart most easily, and larger crops hold an object each.
"""

shapes_views = dict(
    type="MultiView",
    boxes=None,
    views=[
        dict(
            num=1,
            transforms=[
                dict(type="RandomResizedCrop", size=64, scale=(0.3, 1.0), interpolation="bilinear"),
                dict(
                    type="ColorJitter",
                    brightness=0.4,
                    contrast=0.4,
                    saturation=0.4,
                    hue=0.5,
                    prob=0.8,
                ),
                dict(type="GaussianBlur", sigma=(0.1, 1.0), prob=0.5),
                dict(type="RandomGrayscale", prob=0.2),
                dict(type="HorizontalFlip", prob=0.5),
            ],
        ),
        dict(
            num=1,
            transforms=[
                dict(type="RandomResizedCrop", size=64, scale=(0.3, 1.0), interpolation="bilinear"),
                dict(
                    type="ColorJitter",
                    brightness=0.4,
                    contrast=0.4,
                    saturation=0.4,
                    hue=0.5,
                    prob=0.8,
                ),
                dict(type="GaussianBlur", sigma=(0.1, 1.0), prob=0.1),
                dict(type="RandomGrayscale", prob=0.2),
                dict(type="HorizontalFlip", prob=0.5),
                dict(type="Solarize", threshold=128, prob=0.2),
            ],
        ),
    ],
)
