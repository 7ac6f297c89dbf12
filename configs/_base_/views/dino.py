"""DINO's multi-crop (Caron et al. 2021, arXiv 2104.14294): 2 views of 224 px, 8 of 96 px, and variants."""


def view(num, size, scale, blur, *more):
    return dict(
        num=num,
        transforms=[
            dict(type="RandomResizedCrop", size=size, scale=scale, interpolation="bicubic"),
            dict(type="HorizontalFlip", prob=0.5),
            dict(
                type="ColorJitter", brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, prob=0.8
            ),
            dict(type="RandomGrayscale", prob=0.2),
            dict(type="GaussianBlur", sigma=(0.1, 2.0), prob=blur),
            *more,
        ],
    )


def global_views(scale):
    return [
        view(1, 224, scale, 1.0),
        view(1, 224, scale, 0.1, dict(type="Solarize", threshold=128, prob=0.2)),
    ]


dino_views = dict(
    type="MultiView", views=[*global_views((0.4, 1.0)), view(8, 96, (0.05, 0.4), 0.5)]
)
# DINO's for ResNets
dino_resnet_views = dict(
    type="MultiView", views=[*global_views((0.14, 1.0)), view(8, 96, (0.05, 0.14), 0.5)]
)
# without small crops the large ones may be smaller
dino_two_views = dict(type="MultiView", views=global_views((0.14, 1.0)))
