"""MoCo v2, ResNet-18, on the drawn images of Shapes: how the recipe looks on two CPU cores.

    python tools/train.py configs/moco/mocov2_resnet18_1xb32-coslr-4e_shapes.py

500 steps of 32 images at 64 px: a queue of 1024 keys, a twin that follows faster than on ImageNet, AdamW with
a large step and residual blocks that start as identities, as in the other recipes on Shapes. Results beside
PCL and HCSC: configs/hcsc/README.md. Nothing of it comes from the article.
"""

_base_ = "../_base_/recipes/resnet18_shapes.py"

model = dict(
    type="MoCo",
    neck=dict(type="MLPNeck", hid_channels=512, out_channels=128),
    queue_length=1024,
    temperature=0.2,
    momentum=0.99,
)
