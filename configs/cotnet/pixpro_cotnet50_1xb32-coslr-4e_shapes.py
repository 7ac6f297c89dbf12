"""PixPro, CoTNet-50, on the drawn images of Shapes.

    python tools/make_shapes.py data/shapes
    python tools/train.py configs/cotnet/pixpro_cotnet50_1xb32-coslr-4e_shapes.py

500 steps of 32 images at 64 px; all but the network is that of the demo's ResNet-18. The
last stage keeps stride 16 and dilates its mixers, as ResNet's convolutions do. The same with ResNet-50:
pixpro_resnet50_1xb32-coslr-4e_shapes.py.
"""

_base_ = "../pixpro/pixpro_resnet18_1xb32-coslr-4e_shapes.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="CoTNet",
        arch="50",
        out_indices=(3,),
        output_stride=16,
        dilate_mixer=True,
    )
)
