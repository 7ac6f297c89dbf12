"""The single view of evaluation: shorter side to 256, central 224 px; DINO and EsViT resize bicubically."""


def centre(interpolation):
    return dict(
        type="MultiView",
        boxes=None,
        views=[
            dict(
                num=1,
                transforms=[
                    dict(type="Resize", size=256, interpolation=interpolation),
                    dict(type="CenterCrop", size=224),
                ],
            ),
        ],
    )


eval_views = centre("bilinear")
eval_bicubic_views = centre("bicubic")
