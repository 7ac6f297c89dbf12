"""MoCo v2's two views (Chen et al. 2020, arXiv 2003.04297; official code), also SimSiam's and PCL v2's.

HCSC's multi-crop (Guo et al. 2022, arXiv 2202.00455; official code) adds four smaller ones of the same kind.
"""


def view(num, size, scale):
    return dict(
        num=num,
        transforms=[
            dict(type="RandomResizedCrop", size=size, scale=scale, interpolation="bilinear"),
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
    )


mocov2_views = dict(type="MultiView", views=[view(2, 224, (0.2, 1.0))])
# query, key, and four small queries
hcsc_multi_crop_views = dict(
    type="MultiView",
    views=[
        view(2, 224, (0.2, 1.0)),
        view(1, 192, (0.172, 0.86)),
        view(1, 160, (0.143, 0.715)),
        view(1, 128, (0.114, 0.571)),
        view(1, 96, (0.086, 0.429)),
    ],
)
