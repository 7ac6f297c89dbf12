"""SwAV's multi-crop (Caron et al. 2020, arXiv 2006.09882; official code): 2 views of 224 px, 6 of 96 px.

Its code normalises red with a deviation of 0.228 where everybody else has 0.229, in evaluation too: `swav_std`.
"""


def view(num, size, scale):
    return dict(
        num=num,
        transforms=[
            dict(type="RandomResizedCrop", size=size, scale=scale, interpolation="bilinear"),
            dict(type="HorizontalFlip", prob=0.5),
            dict(
                type="ColorJitter", brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, prob=0.8
            ),
            dict(type="RandomGrayscale", prob=0.2),
            dict(type="GaussianBlur", sigma=(0.1, 2.0), prob=0.5),
        ],
    )


swav_std = [58.14, 57.12, 57.375]
swav_views = dict(type="MultiView", views=[view(2, 224, (0.14, 1.0)), view(6, 96, (0.05, 0.14))])
# for the wide networks
swav_four_small_views = dict(
    type="MultiView", views=[view(2, 224, (0.14, 1.0)), view(4, 96, (0.05, 0.14))]
)
swav_four_views_of_8_percent = dict(
    type="MultiView", views=[view(2, 224, (0.08, 1.0)), view(4, 96, (0.08, 0.14))]
)
# without small crops the large ones may be smaller
swav_two_views = dict(type="MultiView", views=[view(2, 224, (0.08, 1.0))])
# DeepCluster-v2's of half the length of its best run
deepcluster_views = dict(
    type="MultiView", views=[view(2, 160, (0.08, 1.0)), view(4, 96, (0.05, 0.14))]
)
