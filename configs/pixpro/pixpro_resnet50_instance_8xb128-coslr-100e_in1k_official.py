"""PixPro and the instance loss of the released code, BYOL's with a predictor, ResNet-50, 100 epochs.

tools/dist_train.sh configs/pixpro/pixpro_resnet50_instance_8xb128-coslr-100e_in1k_official.py 8 --amp fp16

It is off in the released runs, and no result of it is published.
"""

_base_ = "pixpro_resnet50_instance_8xb128-coslr-100e_in1k.py"

model = dict(
    instance_head=dict(type="ConvMLPNeck", hid_channels=4096, norm_cfg=dict(type="SyncBN")),
    instance_loss="byol",
    momentum=dict(length=125113),
)
