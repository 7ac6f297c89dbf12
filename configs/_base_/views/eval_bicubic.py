"""The single view of evaluation as DINO and EsViT have it: as eval.py, resized bicubically."""

eval_views = dict(
    type="MultiView",
    boxes=None,
    views=[
        dict(
            num=1,
            transforms=[
                dict(type="Resize", size=256, interpolation="bicubic"),
                dict(type="CenterCrop", size=224),
            ],
        ),
    ],
)
