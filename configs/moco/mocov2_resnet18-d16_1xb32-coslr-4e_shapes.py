"""MoCo v2, ResNet-18, on Shapes with a last map of stride 16, as the pixel-level methods have it there.

python tools/train.py configs/moco/mocov2_resnet18-d16_1xb32-coslr-4e_shapes.py
"""

_base_ = "mocov2_resnet18_1xb32-coslr-4e_shapes.py"

model = dict(backbone=dict(output_stride=16))
