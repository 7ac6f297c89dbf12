"""InfoMin's views (Tian et al. 2020, arXiv 2005.10243; HobbitLong/PyContrast): two distorted ones, and a jigsaw.

The distortions are strong jitter, blur and RandAugment of timm's pool at level 10; the jigsaw has none.
"""


def view(num):
    return dict(
        num=num,
        transforms=[
            dict(type="RandomResizedCrop", size=224, scale=(0.2, 1.0), interpolation="bilinear"),
            dict(type="HorizontalFlip", prob=0.5),
            dict(
                type="ColorJitter", brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, prob=0.8
            ),
            dict(type="GaussianBlur", sigma=(0.1, 2.0), prob=0.5),
            dict(
                type="RandAugment",
                pool="timm",
                num_ops=2,
                magnitude=10,
                max_level=10,
                prob=(0.5, 0.5),
            ),
            dict(type="RandomGrayscale", prob=0.2),
        ],
    )


jigsaw = dict(
    num=1,
    transforms=[
        dict(type="RandomResizedCrop", size=255, scale=(0.6, 1.0), interpolation="bilinear"),
        dict(type="HorizontalFlip", prob=0.5),
        dict(type="PatchGrid", size=64, grid=3),
    ],
)
# rotations and shears leave no crop boxes
infomin_views = dict(type="MultiView", boxes=None, views=[view(2), jigsaw])
# the distortions alone, for any method with two views
infomin_two_views = dict(type="MultiView", boxes=None, views=[view(2)])
