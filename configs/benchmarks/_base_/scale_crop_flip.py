"""Segmentation views of MoCo's paper: the image's own size times 0.5 to 2, crop, flip."""

scale_half_to_double = dict(
    type="RandomChoice",
    transforms=[
        [dict(type="Resize", scale_factor=0.5, keep_ratio=True)],
        [dict(type="Resize", scale_factor=0.75, keep_ratio=True)],
        [dict(type="Resize", scale_factor=1.0, keep_ratio=True)],
        [dict(type="Resize", scale_factor=1.25, keep_ratio=True)],
        [dict(type="Resize", scale_factor=1.5, keep_ratio=True)],
        [dict(type="Resize", scale_factor=1.75, keep_ratio=True)],
        [dict(type="Resize", scale_factor=2.0, keep_ratio=True)],
    ],
)
original_size = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]
