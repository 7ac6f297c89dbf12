"""Barlow Twins, ResNet-18, on the drawn images of Shapes: the recipe of the others there, 500 steps of 32 images at 64 px.

    python tools/make_shapes.py data/shapes
    python tools/train.py configs/barlow_twins/barlow-twins_resnet18_1xb32-coslr-4e_shapes.py

Nothing of it comes from the article.
"""

_base_ = "../_base_/recipes/resnet18_shapes.py"

model = dict(
    type="BarlowTwins",
    # A network that has learnt little says little: with more numbers, or a larger weight, they are so redundant
    # at first that the loss falls by making the views of an image differ.
    neck=dict(type="MLPNeck", hid_channels=512, out_channels=128),
    off_diagonal_weight=0.005,
)
