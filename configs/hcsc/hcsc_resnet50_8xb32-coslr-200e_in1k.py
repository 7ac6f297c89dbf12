"""HCSC, ResNet-50, 200 epochs on ImageNet-1k, two views: the setting of the released code.

HCSC: Hierarchical Contrastive Selective Coding (arXiv 2202.00455): 69.2 top-1 in linear evaluation, 60.7 k-NN.

    tools/dist_train.sh configs/hcsc/hcsc_resnet50_8xb32-coslr-200e_in1k.py 8

8 GPUs x 32 images; from epoch 20 on the images are clustered before every epoch, into a tree of 3000, 2000
and 1000 prototypes. Deviations: README.md of this folder.
"""

_base_ = [
    "../_base_/datasets/imagenet.py",
    "../_base_/views/mocov2.py",
    "../_base_/views/eval.py",
    "../_base_/schedules/sgd_epoch_cosine.py",
    "../_base_/default_runtime.py",
]

model = dict(
    type="HCSC",
    backbone=dict(type="ResNet", depth=50, out_indices=(3,)),
    neck=dict(type="MLPNeck", hid_channels=2048, out_channels=128),
    prototypes=dict(type="Prototypes", num_clusters=(3000, 2000, 1000), temperature=0.2),
    queue_length=16384,
    temperature=0.2,
    momentum=0.999,
    data_preprocessor=_base_.data_preprocessor,
)
model_wrapper_cfg = dict(type="MMDistributedDataParallel", broadcast_buffers=True)
train_dataloader = dict(batch_size=32, dataset=dict(views=_base_.mocov2_views))
custom_hooks = [
    dict(type="ClusterHook", views=_base_.eval_views, begin_epoch=20, batch_size=160, num_workers=8)
]
optim_wrapper = dict(optimizer=dict(lr=0.03, weight_decay=1e-4))
train_cfg = dict(max_epochs=200)
auto_scale_lr = dict(base_batch_size=256)
