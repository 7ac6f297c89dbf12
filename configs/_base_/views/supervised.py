"""One view per labelled image, bicubic on Pillow: crop and flip, the same with RandAugment, and the centre.

By the side of the images. The shorter side is resized to floor(side / share) for the centre: 0.875, 0.888 (256 px)
and 0.909 (320 px) of it, as CoTNet's code has it.
"""


def one(*transforms):
    return dict(
        type="MultiView",
        backend="pil",
        boxes=None,
        views=[dict(num=1, transforms=list(transforms))],
    )


def crop(size):
    return [
        dict(type="RandomResizedCrop", size=size, scale=(0.08, 1.0), interpolation="bicubic"),
        dict(type="HorizontalFlip", prob=0.5),
    ]


def centre(size, resized):
    return one(
        dict(type="Resize", size=resized, interpolation="bicubic"),
        dict(type="CenterCrop", size=size),
    )


# two of sixteen distortions at level 15
distort = dict(type="RandAugment", num_ops=2, magnitude=15.0, magnitude_std=0.5)
plain_224 = one(*crop(224))
rand_augment_224 = one(*crop(224), distort)
rand_augment_256 = one(*crop(256), distort)
rand_augment_320 = one(*crop(320), distort)
centre_224 = centre(224, 256)
centre_256 = centre(256, 288)
centre_320 = centre(320, 352)
