"""The single view of evaluation: shorter side to 256, central 224 px."""

eval_views = dict(
    type="MultiView",
    boxes=None,
    views=[
        dict(
            num=1,
            transforms=[
                dict(type="Resize", size=256, interpolation="bilinear"),
                dict(type="CenterCrop", size=224),
            ],
        ),
    ],
)
