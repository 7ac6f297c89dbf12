"""Exemplar-CNN's transformations of a seed (Dosovitskiy et al. 2014): one view, drawn anew in every epoch.

Rotation by up to 20 degrees, translation by up to a fifth of the patch, scale 0.7 to 1.4; then contrast along the
patch's own principal colours, contrast and colour in HSV.
"""

# patches of 32 px in the middle of 96: what the map moves in is what the image shows there
exemplar_views = dict(
    type="MultiView",
    boxes=None,
    views=[
        dict(
            num=1,
            transforms=[
                dict(
                    type="torchvision.transforms.RandomAffine",
                    degrees=20,
                    translate=(0.2 / 3, 0.2 / 3),
                    scale=(0.7, 1.4),
                    interpolation=2,
                    fill=0,
                ),
                dict(type="CenterCrop", size=32),
                dict(type="ColourComponents", factor=(0.5, 2.0)),
                dict(
                    type="HsvPower",
                    power=(0.25, 4.0),
                    factor=(0.7, 1.4),
                    offset=(-0.1, 0.1),
                    hue=(-0.1, 0.1),
                ),
            ],
        )
    ],
)
