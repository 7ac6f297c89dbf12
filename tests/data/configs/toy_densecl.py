# DenseCL on the toy images, without BatchNorm: two processes compute what one with twice the batch does.
_base_ = ["toy.py"]
model = dict(
    _delete_=True,
    type="DenseCL",
    backbone=dict(type="ToyBackbone"),
    neck=dict(hid_channels=8, out_channels=6),
    queue_length=16,
)
model_wrapper_cfg = dict(type="MMDistributedDataParallel", broadcast_buffers=True)
train_cfg = dict(max_epochs=3)
