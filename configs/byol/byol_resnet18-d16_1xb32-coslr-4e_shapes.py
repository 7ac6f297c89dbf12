"""BYOL, ResNet-18, on Shapes for 4 epochs with a last map of stride 16, as the pixel-level methods have it there.

python tools/train.py configs/byol/byol_resnet18-d16_1xb32-coslr-4e_shapes.py
"""

_base_ = "byol_resnet18_1xb32-coslr-3e_shapes.py"

model = dict(backbone=dict(output_stride=16))
train_cfg = dict(max_epochs=4)
