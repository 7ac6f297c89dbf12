"""DenseCL, ResNet-18, on Shapes: MoCo v2's recipe there, on a map of 4x4 cells, with the dense half of the loss.

python tools/train.py configs/densecl/densecl_resnet18_1xb32-coslr-4e_shapes.py
"""

_base_ = "../moco/mocov2_resnet18-d16_1xb32-coslr-4e_shapes.py"

model = dict(type="DenseCL", neck=dict(type="DenseCLNeck"), dense_weight=0.5)
