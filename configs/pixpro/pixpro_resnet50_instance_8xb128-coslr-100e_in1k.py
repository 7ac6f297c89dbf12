"""PixPro and an instance loss, ResNet-50, 100 epochs: the article's combination with a SimCLR of momentum keys.

Published: linear evaluation 66.3 top-1 (55.1 without); COCO, Mask R-CNN FPN 1x: 41.3 box AP, 37.1 mask AP.

    tools/dist_train.sh configs/pixpro/pixpro_resnet50_instance_8xb128-coslr-100e_in1k.py 8 --amp fp16

The article's SimCLR variant is not released: its details are ours, see README.md of this folder. The
released code has another loss: pixpro_resnet50_instance_8xb128-coslr-100e_in1k_official.py.
"""

_base_ = "pixpro_resnet50_8xb128-coslr-100e_in1k.py"

model = dict(
    instance_neck=dict(
        type="ConvMLPNeck", hid_channels=4096, out_channels=256, norm_cfg=dict(type="SyncBN")
    ),
    instance_loss="simclr_star",
    instance_weight=1.0,
    instance_temperature=0.2,
)
