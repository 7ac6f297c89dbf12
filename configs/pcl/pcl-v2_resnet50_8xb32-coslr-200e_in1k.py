"""PCL v2, ResNet-50, 200 epochs on ImageNet-1k: the setting of the released code.

Prototypical Contrastive Learning of Unsupervised Representations (arXiv 2005.04966): 67.6 top-1 in linear
evaluation.

    tools/dist_train.sh configs/pcl/pcl-v2_resnet50_8xb32-coslr-200e_in1k.py 8

8 GPUs x 32 images; from epoch 20 on the images are clustered before every epoch, three times. Deviations:
README.md of this folder.
"""

_base_ = [
    "../_base_/datasets/imagenet.py",
    "../_base_/views/mocov2.py",
    "../_base_/views/eval.py",
    "../_base_/schedules/sgd_epoch_cosine.py",
    "../_base_/default_runtime.py",
]

model = dict(
    type="PCL",
    backbone=dict(type="ResNet", depth=50, out_indices=(3,)),
    neck=dict(type="MLPNeck", hid_channels=2048, out_channels=128),
    prototypes=dict(
        type="Prototypes", num_clusters=(25000, 50000, 100000), tree=False, temperature=0.2
    ),
    num_negatives=16384,
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
