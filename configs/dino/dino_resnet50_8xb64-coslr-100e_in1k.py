"""DINO, ResNet-50, 100 epochs, by DINO's own recipe for convolutional networks.

    tools/dist_train.sh configs/dino/dino_resnet50_8xb64-coslr-100e_in1k.py 8 --amp fp16

SGD, constant weight decay, other crops. The released model (k-NN / linear 67.5 / 75.3) was trained longer.
"""

_base_ = "dino_vit-small-p16_8xb64-coslr-100e_in1k.py"

model = dict(
    backbone=dict(
        _delete_=True, type="ResNet", depth=50, out_indices=(3,), norm_cfg=dict(type="SyncBN")
    ),
)
train_dataloader = dict(dataset=dict(views=dict(_delete_=True, **_base_.dino_resnet_views)))
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="SGD", lr=0.06, momentum=0.9, weight_decay=1e-4)
)
param_scheduler = [
    dict(
        type="WarmupCosineLR",
        warmup=10,
        eta_min=1e-6,
        peak_twice=True,
        convert_to_iter_based=True,
    ),
]
