"""InfoMin, ResNet-50, 200 epochs on ImageNet-1k. Published: 70.1 top-1 in linear evaluation.

What Makes for Good Views for Contrastive Learning? (arXiv 2005.10243), with the jigsaw branch of its code.

    tools/dist_train.sh configs/infomin/infomin_resnet50_8xb32-coslr-200e_in1k.py 8

8 GPUs x 32 images. Deviations: README.md of this folder.
"""

_base_ = [
    "../_base_/datasets/imagenet.py",
    "../_base_/views/infomin.py",
    "../_base_/schedules/sgd_epoch_cosine.py",
    "../_base_/default_runtime.py",
]

model = dict(
    type="InfoMin",
    backbone=dict(type="ResNet", depth=50, out_indices=(3,)),
    neck=dict(type="MLPNeck", hid_channels=2048, out_channels=128),
    jigsaw_weight=0.5,
    queue_length=65536,
    temperature=0.15,
    momentum=0.999,
    data_preprocessor=_base_.data_preprocessor,
)
# every process has its own batch statistics; the running ones of the first overwrite the others', as there
model_wrapper_cfg = dict(type="MMDistributedDataParallel", broadcast_buffers=True)
train_dataloader = dict(batch_size=32, dataset=dict(views=_base_.infomin_views))
# for batches of 256; every parameter is decayed, norms and biases too
optim_wrapper = dict(optimizer=dict(lr=0.03, weight_decay=1e-4))
# epochs are counted from 1
param_scheduler = [dict(type="WarmupCosineLR", by_epoch=True, eta_min_ratio=1e-3, offset=1)]
train_cfg = dict(max_epochs=200)
auto_scale_lr = dict(base_batch_size=256)
