"""PixPro of trunk, FPN and both towers of FCOS, ResNet-18, on the drawn images of Shapes.

    python tools/train.py configs/pixpro/pixpro_resnet18-fcos_1xb32-coslr-4e_shapes.py

The towers are those of configs/benchmarks/shapes_detection/fcos_r18_fpn_shapes.py. Export with
--parts backbone neck bbox_head.
"""

_base_ = "pixpro_resnet18-fpn_1xb32-coslr-4e_shapes.py"

model = dict(pyramid=dict(towers=dict(stacked_convs=2)))
