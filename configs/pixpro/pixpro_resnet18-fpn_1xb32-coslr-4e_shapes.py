"""PixPro of trunk and FPN, ResNet-18, on the drawn images of Shapes.

    python tools/train.py configs/pixpro/pixpro_resnet18-fpn_1xb32-coslr-4e_shapes.py

The FPN is that of configs/benchmarks/shapes_detection/; all its levels take part, P2 too, which at 64 px has no
more than 16 x 16 cells. The projector is narrower than that behind the trunk, for its input is. The trunk has its
usual strides. Export with --parts backbone neck.
"""

_base_ = "pixpro_resnet18_1xb32-coslr-4e_shapes.py"

model = dict(
    backbone=dict(out_indices=(0, 1, 2, 3), output_stride=None),
    pyramid=dict(
        type="DetectorPyramid",
        neck=dict(
            type="mmdet.FPN",
            in_channels=[64, 128, 256, 512],
            out_channels=64,
            num_outs=4,
            norm_cfg=dict(type="BN", requires_grad=True),
        ),
        levels=(2, 3, 4, 5),
    ),
    neck=dict(hid_channels=256, out_channels=128),
)
