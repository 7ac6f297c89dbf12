"""MoCo v1, ResNet-50, 200 epochs on ImageNet-1k: the setting of article and released code.

Momentum Contrast for Unsupervised Visual Representation Learning (arXiv 1911.05722): 60.6 top-1 in linear
evaluation (60.8 +- 0.2 over five runs).

    tools/dist_train.sh configs/moco/mocov1_resnet50_8xb32-steplr-200e_in1k.py 8

8 GPUs x 32 images. Against v2: one linear layer as neck, temperature 0.07, its own views and steps.
"""

_base_ = [
    "../_base_/datasets/imagenet.py",
    "../_base_/views/mocov1.py",
    "../_base_/schedules/sgd_multistep.py",
    "../_base_/default_runtime.py",
]

model = dict(
    type="MoCo",
    backbone=dict(type="ResNet", depth=50, out_indices=(3,)),
    neck=dict(type="MLPNeck", num_layers=1, out_channels=128),
    queue_length=65536,
    temperature=0.07,
    momentum=0.999,
    data_preprocessor=_base_.data_preprocessor,
)
model_wrapper_cfg = dict(type="MMDistributedDataParallel", broadcast_buffers=True)
train_dataloader = dict(batch_size=32, dataset=dict(views=_base_.mocov1_views))
optim_wrapper = dict(optimizer=dict(lr=0.03, weight_decay=1e-4))
train_cfg = dict(max_epochs=200)
auto_scale_lr = dict(base_batch_size=256)
