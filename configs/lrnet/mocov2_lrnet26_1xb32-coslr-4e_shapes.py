"""MoCo v2, LR-Net-26, on the drawn images of Shapes.

    python tools/train.py configs/lrnet/mocov2_lrnet26_1xb32-coslr-4e_shapes.py

All but the network is ../moco/mocov2_resnet18_1xb32-coslr-4e_shapes.py: 500 steps of 32 images at 64 px, each
some five seconds of one core, five times ResNet-18's. Nothing of it comes from the article, which trains with labels.
"""

_base_ = "../moco/mocov2_resnet18_1xb32-coslr-4e_shapes.py"

model = dict(backbone=dict(_delete_=True, type="LRNet", depth=26, out_indices=(3,)))
