"""SimCLR's two views (Chen et al. 2020, arXiv 2002.05709; official code): strong colours, no solarisation.

Those of CIFAR are of 32 px, with colours of half the strength and without blur (appendix B.9).
"""


def simclr_view(strength, size, *more):
    return dict(
        num=2,
        transforms=[
            dict(type="RandomResizedCrop", size=size, scale=(0.08, 1.0), interpolation="bicubic"),
            dict(type="HorizontalFlip", prob=0.5),
            dict(
                type="ColorJitter",
                brightness=0.8 * strength,
                contrast=0.8 * strength,
                saturation=0.8 * strength,
                hue=0.2 * strength,
                prob=0.8,
            ),
            dict(type="RandomGrayscale", prob=0.2),
            *more,
        ],
    )


blur = dict(type="GaussianBlur", sigma=(0.1, 2.0), prob=0.5)
simclr_views = dict(type="MultiView", views=[simclr_view(1.0, 224, blur)])
simclr_cifar_views = dict(type="MultiView", views=[simclr_view(0.5, 32)])
