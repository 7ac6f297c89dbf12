"""The single view of evaluation: shorter side to 256, central 224 px; DINO and EsViT resize bicubically.

Small data sets are resized to 224, so that nothing of the shorter side is cut off (SimCLR, BYOL).
"""


def centre(interpolation, resized=256):
    return dict(
        type="MultiView",
        boxes=None,
        views=[
            dict(
                num=1,
                transforms=[
                    dict(type="Resize", size=resized, interpolation=interpolation),
                    dict(type="CenterCrop", size=224),
                ],
            ),
        ],
    )


eval_views = centre("bilinear")
eval_bicubic_views = centre("bicubic")
eval_whole_views = centre("bicubic", 224)
