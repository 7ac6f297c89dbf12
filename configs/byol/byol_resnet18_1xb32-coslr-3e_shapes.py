"""BYOL, ResNet-18, on Shapes: CARE's C-stream alone, with the recipe of the others there.

python tools/train.py configs/byol/byol_resnet18_1xb32-coslr-3e_shapes.py
"""

_base_ = "../_base_/recipes/resnet18_shapes.py"

model = dict(
    type="BYOL",
    neck=dict(
        type="MLPNeck",
        hid_channels=1024,
        out_channels=256,
        norm_cfg=dict(type="BN1d"),
        last_norm_cfg=dict(type="BN1d", affine=False),
    ),
    head=dict(type="MLPPredictor", hid_channels=1024, norm_cfg=dict(type="BN1d")),
    momentum=dict(type="Cosine", start=0.97, end=1.0),
)
train_cfg = dict(max_epochs=3)
