"""SwAV, ResNet-18, on the drawn images of Shapes: the recipe of the others there, 500 steps of 32 images at 64 px.

    python tools/make_shapes.py data/shapes
    python tools/train.py configs/swav/swav_resnet18_1xb32-coslr-4e_shapes.py

Nothing of it comes from the article.
"""

_base_ = "../_base_/recipes/resnet18_shapes.py"

model = dict(
    type="SwAV",
    neck=dict(type="MLPNeck", hid_channels=512, out_channels=128),
    # few beside 64 views
    head=dict(num_prototypes=60),
    queue_length=256,
    queue_start=1,
)
custom_hooks = [*_base_.custom_hooks, dict(type="FreezeHook", modules=["head"], iters=30)]
