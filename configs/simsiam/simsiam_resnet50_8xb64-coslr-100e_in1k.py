"""SimSiam, ResNet-50, 100 epochs on ImageNet-1k: the setting of article and released code.

Exploring Simple Siamese Representation Learning (arXiv 2011.10566): 68.1 top-1 in linear evaluation.

    tools/dist_train.sh configs/simsiam/simsiam_resnet50_8xb64-coslr-100e_in1k.py 8

8 GPUs x 64 images, BatchNorm over all of them. Deviations: README.md of this folder.
"""

_base_ = [
    "../_base_/backbones/resnet50.py",
    "../_base_/datasets/imagenet.py",
    "../_base_/views/mocov2.py",
    "../_base_/schedules/sgd_epoch_cosine.py",
    "../_base_/default_runtime.py",
]

model = dict(
    type="SimSiam",
    backbone=dict(zero_init_residual=True),
    neck=dict(type="MLPNeck", out_channels=2048, norm_cfg=dict(type="SyncBN")),
    head=dict(type="MLPPredictor", norm_cfg=dict(type="SyncBN")),
    data_preprocessor=_base_.data_preprocessor,
)
train_dataloader = dict(batch_size=64, dataset=dict(views=_base_.mocov2_views))
# 0.05 x batch / 256; every parameter is decayed, and the predictor's rate stays what it is
optim_wrapper = dict(
    optimizer=dict(lr=0.1, weight_decay=1e-4), paramwise_cfg=dict(constant_lr=("head",))
)
train_cfg = dict(max_epochs=100)
auto_scale_lr = dict(base_batch_size=512)
