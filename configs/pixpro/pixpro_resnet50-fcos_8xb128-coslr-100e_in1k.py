"""PixPro of trunk, FPN and both towers of FCOS, ResNet-50, 100 epochs on ImageNet-1k.

    tools/dist_train.sh configs/pixpro/pixpro_resnet50-fcos_8xb128-coslr-100e_in1k.py 8 --amp fp16

FPN and towers are those of configs/benchmarks/coco_detection/fcos_r50-fpn_8xb2-1x_coco.py (no norm in the FPN, GN
and a bias in the towers). P3 to P6 take part; P7 would have 2 x 2 cells and starts in the detector as without
pretraining. The article's gain with FCOS is up to +1.2 AP on COCO; its settings are not released.
Export: tools/export_backbone.py CHECKPOINT OUT --to mmdet --parts backbone neck bbox_head
"""

_base_ = "pixpro_resnet50-fpn_8xb128-coslr-100e_in1k.py"

model = dict(
    pyramid=dict(
        neck=dict(
            start_level=1,
            norm_cfg=None,
            add_extra_convs="on_output",
            relu_before_extra_convs=True,
        ),
        towers=dict(stacked_convs=4, conv_bias=True),
    ),
)
