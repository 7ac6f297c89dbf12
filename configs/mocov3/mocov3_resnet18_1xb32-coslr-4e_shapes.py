"""MoCo v3, ResNet-18, on the drawn images of Shapes: the recipe of the others there, 500 steps of 32 images at 64 px.

    python tools/make_shapes.py data/shapes
    python tools/train.py configs/mocov3/mocov3_resnet18_1xb32-coslr-4e_shapes.py

Nothing of it comes from the article.
"""

_base_ = "../_base_/recipes/resnet18_shapes.py"

model = dict(
    type="MoCoV3",
    neck=dict(type="MLPNeck", hid_channels=1024, out_channels=256),
    head=dict(type="MLPPredictor", hid_channels=1024, last_norm_cfg=None),
    temperature=0.2,
    momentum=dict(type="Cosine", start=0.97, end=1.0),
)
