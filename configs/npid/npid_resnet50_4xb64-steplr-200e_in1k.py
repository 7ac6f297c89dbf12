"""NPID (InstDisc), ResNet-50, 200 epochs on ImageNet-1k: the updated release.

Unsupervised Feature Learning via Non-Parametric Instance Discrimination (arXiv 1805.01978): 58.5 top-1 in
linear evaluation with 65536 negatives and cross-entropy.

    tools/dist_train.sh configs/npid/npid_resnet50_4xb64-steplr-200e_in1k.py 4

4 GPUs x 64 images. `model.num_samples` is the number of training images. Deviations: README.md of this folder.
"""

_base_ = [
    "../_base_/datasets/imagenet.py",
    "../_base_/views/mocov1.py",
    "../_base_/schedules/sgd_multistep.py",
    "../_base_/default_runtime.py",
]

model = dict(
    type="NPID",
    backbone=dict(type="ResNet", depth=50, out_indices=(3,)),
    neck=dict(type="MLPNeck", num_layers=1, out_channels=128),
    num_samples=1281167,
    num_negatives=65536,
    temperature=0.07,
    bank_momentum=0.5,
    data_preprocessor=_base_.data_preprocessor,
)
train_dataloader = dict(batch_size=64, dataset=dict(views=_base_.npid_views))
optim_wrapper = dict(optimizer=dict(lr=0.03, weight_decay=1e-4))
train_cfg = dict(max_epochs=200)
auto_scale_lr = dict(base_batch_size=256)
