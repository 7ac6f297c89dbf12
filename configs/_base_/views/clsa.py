"""CLSA's views (Wang and Qi 2021, arXiv 2104.07713; official code): a key, weak queries, strong queries.

Weak views are MoCo v2's; strong ones are distorted five times more, out of FixMatch's pool.
"""

strong = dict(
    type="RandAugment", pool="fixmatch", num_ops=5, magnitude=10, prob=(0.5, 0.5), fill=(0, 0, 0)
)


def view(size, scale, *more):
    return dict(
        num=1,
        transforms=[
            dict(type="RandomResizedCrop", size=size, scale=scale, interpolation="bilinear"),
            dict(
                type="ColorJitter", brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, prob=0.8
            ),
            dict(type="RandomGrayscale", prob=0.2),
            dict(type="GaussianBlur", sigma=(0.1, 2.0), prob=0.5),
            dict(type="HorizontalFlip", prob=0.5),
            *more,
        ],
    )


sizes = [
    (224, (0.2, 1.0)),
    (192, (0.172, 0.86)),
    (160, (0.143, 0.715)),
    (128, (0.114, 0.571)),
    (96, (0.086, 0.429)),
]
# rotations and shears leave no crop boxes
clsa_views = dict(
    type="MultiView",
    boxes=None,
    views=[view(*sizes[0]), view(*sizes[0]), view(*sizes[-1], strong)],
)
clsa_multi_crop_views = dict(
    type="MultiView",
    boxes=None,
    views=[
        view(*sizes[0]),
        *[view(*size) for size in sizes],
        *[view(*size, strong) for size in sizes],
    ],
)
