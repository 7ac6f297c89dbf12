"""MoCo v3's two views (Chen et al. 2021, arXiv 2104.02057; official code): BYOL's with bilinear crops, mirrored last.

A ViT takes crops of 8 % of the image or more, a ResNet of 20 % or more.
"""


def view(smallest, blur, solarize):
    return dict(
        num=1,
        transforms=[
            dict(
                type="RandomResizedCrop",
                size=224,
                scale=(smallest, 1.0),
                interpolation="bilinear",
            ),
            dict(
                type="ColorJitter", brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, prob=0.8
            ),
            dict(type="RandomGrayscale", prob=0.2),
            dict(type="GaussianBlur", sigma=(0.1, 2.0), prob=blur),
            dict(type="Solarize", threshold=128, prob=solarize),
            dict(type="HorizontalFlip", prob=0.5),
        ],
    )


def two_views(smallest):
    return dict(type="MultiView", views=[view(smallest, 1.0, 0.0), view(smallest, 0.1, 0.2)])


mocov3_vit_views = two_views(0.08)
mocov3_resnet_views = two_views(0.2)
