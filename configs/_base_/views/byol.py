"""BYOL's two views (Grill et al. 2020, arXiv 2006.07733): asymmetric blur and solarisation.

MoBY's (Xie et al. 2021, arXiv 2105.04553; official code) are the same with bilinear crops.
"""


def view(blur, solarize, interpolation):
    return dict(
        num=1,
        transforms=[
            dict(
                type="RandomResizedCrop", size=224, scale=(0.08, 1.0), interpolation=interpolation
            ),
            dict(type="HorizontalFlip", prob=0.5),
            dict(
                type="ColorJitter", brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, prob=0.8
            ),
            dict(type="RandomGrayscale", prob=0.2),
            dict(type="GaussianBlur", sigma=(0.1, 2.0), prob=blur),
            dict(type="Solarize", threshold=128, prob=solarize),
        ],
    )


def two_views(interpolation):
    return [view(1.0, 0.0, interpolation), view(0.1, 0.2, interpolation)]


byol_views = dict(type="MultiView", views=two_views("bicubic"))
moby_views = dict(type="MultiView", views=two_views("bilinear"))
