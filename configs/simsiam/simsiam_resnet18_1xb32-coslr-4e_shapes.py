"""SimSiam, ResNet-18, on the drawn images of Shapes: the recipe of the others there, 500 steps of 32 images at 64 px.

    python tools/make_shapes.py data/shapes
    python tools/train.py configs/simsiam/simsiam_resnet18_1xb32-coslr-4e_shapes.py

Nothing of it comes from the article.
"""

_base_ = "../_base_/recipes/resnet18_shapes.py"

model = dict(
    type="SimSiam",
    neck=dict(type="MLPNeck", out_channels=512),
    head=dict(type="MLPPredictor"),
)
optim_wrapper = dict(paramwise_cfg=dict(constant_lr=("head",)))
