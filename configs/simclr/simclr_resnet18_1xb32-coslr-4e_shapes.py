"""SimCLR, ResNet-18, on Shapes: MoCo v2's recipe there, with 62 negatives from the batch instead of a queue.

python tools/train.py configs/simclr/simclr_resnet18_1xb32-coslr-4e_shapes.py
"""

_base_ = "../care/care_resnet18_1xb32-coslr-3e_shapes.py"

model = dict(
    _delete_=True,
    type="SimCLR",
    data_preprocessor=dict(_base_.data_preprocessor, channels_last=True),
    backbone=dict(type="ResNet", depth=18, out_indices=(3,), zero_init_residual=True),
    neck=dict(
        type="MLPNeck",
        num_layers=2,
        hid_channels=512,
        out_channels=128,
        bias=False,
        last_bias=False,
        norm_cfg=dict(type="BN1d"),
        last_norm_cfg=dict(type="BN1d", bias=False),
    ),
    temperature=0.2,
)
train_cfg = dict(max_epochs=4)
