"""Two views of Shapes, 64 px: crops of 40 % of a scene or more, every hue, little other jitter.

The classes of Shapes are contours and textures, never colours: the full turn of the hue takes away
what would otherwise tell two scenes apart most easily. All scenes are equally bright, so strong jitter
of brightness and contrast would be most of what a view shows; large crops hold an object each.
"""


def two_views(boxes):
    return dict(
        type="MultiView",
        boxes=boxes,
        views=[
            dict(
                num=2,
                transforms=[
                    dict(
                        type="RandomResizedCrop",
                        size=64,
                        scale=(0.4, 1.0),
                        interpolation="bilinear",
                    ),
                    dict(
                        type="ColorJitter",
                        brightness=0.2,
                        contrast=0.2,
                        saturation=0.2,
                        hue=0.5,
                        prob=0.8,
                    ),
                    dict(type="GaussianBlur", sigma=(0.1, 1.0), prob=0.3),
                    dict(type="RandomGrayscale", prob=0.2),
                    dict(type="HorizontalFlip", prob=0.5),
                ],
            ),
        ],
    )


shapes_views = two_views(None)
# the same, with the boxes that pixel-level methods need
shapes_pixel_views = two_views("unit")
# for methods with one branch
shapes_one_view = dict(
    type="MultiView",
    boxes=None,
    views=[dict(num=1, transforms=shapes_views["views"][0]["transforms"])],
)
