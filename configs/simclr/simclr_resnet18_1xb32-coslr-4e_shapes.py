"""SimCLR, ResNet-18, on Shapes: MoCo v2's recipe there, with 62 negatives from the batch instead of a queue.

python tools/train.py configs/simclr/simclr_resnet18_1xb32-coslr-4e_shapes.py
"""

_base_ = "../_base_/recipes/resnet18_shapes.py"

model = dict(
    type="SimCLR",
    neck=dict(
        type="MLPNeck",
        num_layers=2,
        hid_channels=512,
        out_channels=128,
        bias=False,
        last_bias=False,
        norm_cfg=dict(type="BN1d"),
        last_norm_cfg=dict(type="BN1d", bias=False),
    ),
    temperature=0.2,
)
