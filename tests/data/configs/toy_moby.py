# MoBY on the toy images, without BatchNorm: two processes compute what one with twice the batch does.
_base_ = ["toy.py"]
model = dict(
    _delete_=True,
    type="MoBY",
    backbone=dict(type="ToyBackbone"),
    neck=dict(type="MLPNeck", hid_channels=8, out_channels=6, norm_cfg=None),
    head=dict(type="MLPPredictor", hid_channels=8, norm_cfg=None),
    queue_length=16,
)
train_cfg = dict(max_epochs=3)
