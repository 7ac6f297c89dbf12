"""CARE, ResNet-50, on Shapes: what CoTNet-50 is compared with, step for step.

python tools/train.py configs/cotnet/care_resnet50_1xb32-coslr-4e_shapes.py
"""

_base_ = "care_cotnet50_1xb32-coslr-4e_shapes.py"

model = dict(
    backbone=dict(
        _delete_=True, type="ResNet", depth=50, out_indices=(2, 3), zero_init_residual=True
    )
)
