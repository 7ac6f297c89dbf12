"""MoCo v2, ResNet-18 with a generalised attention block of mmcv, on the drawn images of Shapes.

    python tools/train.py configs/attention_plugins/mocov2_resnet18-genattention_1xb32-coslr-4e_shapes.py

See mocov2_resnet18-dnl_1xb32-coslr-4e_shapes.py. Needs mmcv (`make install`).
"""

_base_ = "../moco/mocov2_resnet18_1xb32-coslr-4e_shapes.py"

custom_imports = dict(imports=["mmssl.downstream.attention_plugins"])

model = dict(
    backbone=dict(
        plugins=[
            dict(
                cfg=dict(type="GeneralizedAttention", num_heads=8, attention_type="1111"),
                stages=(False, False, True, False),
                position="after_conv2",
            )
        ]
    )
)
