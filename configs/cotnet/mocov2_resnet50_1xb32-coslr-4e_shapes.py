"""MoCo v2, ResNet-50, on Shapes: what CoTNet-50 is compared with, step for step.

python tools/train.py configs/cotnet/mocov2_resnet50_1xb32-coslr-4e_shapes.py
"""

_base_ = "mocov2_cotnet50_1xb32-coslr-4e_shapes.py"

model = dict(
    backbone=dict(_delete_=True, type="ResNet", depth=50, out_indices=(3,), zero_init_residual=True)
)
