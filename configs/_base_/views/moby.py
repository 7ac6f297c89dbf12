"""MoBY's two views (Xie et al. 2021, arXiv 2105.04553; official code): BYOL's, with bilinear crops."""


def view(blur, solarize):
    return dict(
        num=1,
        transforms=[
            dict(type="RandomResizedCrop", size=224, scale=(0.08, 1.0), interpolation="bilinear"),
            dict(type="HorizontalFlip", prob=0.5),
            dict(
                type="ColorJitter", brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, prob=0.8
            ),
            dict(type="RandomGrayscale", prob=0.2),
            dict(type="GaussianBlur", sigma=(0.1, 2.0), prob=blur),
            dict(type="Solarize", threshold=128, prob=solarize),
        ],
    )


moby_views = dict(
    type="MultiView",
    views=[view(blur=1.0, solarize=0.0), view(blur=0.1, solarize=0.2)],
)
