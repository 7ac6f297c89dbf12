"""MoCo v2, ResNet-18 with a disentangled non-local block, on the drawn images of Shapes.

    python tools/train.py configs/attention_plugins/mocov2_resnet18-dnl_1xb32-coslr-4e_shapes.py

All but the block is ../moco/mocov2_resnet18_1xb32-coslr-4e_shapes.py. The block stands in the blocks of the third
stage (4x4 cells at 64 px), before the shortcut is added, and starts as the identity.
"""

_base_ = "../moco/mocov2_resnet18_1xb32-coslr-4e_shapes.py"

model = dict(
    backbone=dict(
        plugins=[
            dict(
                cfg=dict(type="DNLBlock"),
                stages=(False, False, True, False),
                position="after_conv2",
            )
        ]
    )
)
