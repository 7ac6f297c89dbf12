"""Views of NPID and MoCo v1 (official codes): grayscale comes before a jitter that is never left out."""


def views(num):
    return dict(
        type="MultiView",
        views=[
            dict(
                num=num,
                transforms=[
                    dict(
                        type="RandomResizedCrop",
                        size=224,
                        scale=(0.2, 1.0),
                        interpolation="bilinear",
                    ),
                    dict(type="RandomGrayscale", prob=0.2),
                    dict(
                        type="ColorJitter",
                        brightness=0.4,
                        contrast=0.4,
                        saturation=0.4,
                        hue=0.4,
                        prob=1.0,
                    ),
                    dict(type="HorizontalFlip", prob=0.5),
                ],
            ),
        ],
    )


npid_views = views(1)
mocov1_views = views(2)
