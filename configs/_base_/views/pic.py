"""PIC's crops (Cao et al. 2020, arXiv 2006.14618; official code): one of 160 px and three of 96 px, or one of 224 px.

The ranges of the area meet at .14: a large crop shows what no small one does.
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


pic_views = dict(
    type="MultiView", boxes=None, views=[view(1, 160, (0.14, 1.0)), view(3, 96, (0.08, 0.14))]
)
pic_single_views = dict(type="MultiView", boxes=None, views=[view(1, 224, (0.08, 1.0))])
