"""Exemplar-CNN's task with 16000 seeds of STL-10: a class for each, 150 transformed patches of 32 px.

Discriminative Unsupervised Feature Learning with Convolutional Neural Networks (NIPS 2014; arXiv 1406.6909).

    python tools/train.py configs/exemplar/exemplar_resnet18_1xb128-coslr-150e_stl10.py

`data/stl10/seeds` is a folder of 16000 images of 96 px whose middle is the seed; `model.head.num_instances` is their
number. Network, optimizer and learning rate are ours: README.md of this folder.
"""

_base_ = [
    "../_base_/datasets/image_folder.py",
    "../_base_/views/exemplar.py",
    "../_base_/schedules/sgd_warmup_cosine.py",
    "../_base_/default_runtime.py",
]

model = dict(
    type="PIC",
    backbone=dict(type="ResNet", depth=18, out_indices=(3,), stem="cifar", base_channels=32),
    neck=dict(type="MLPNeck", hid_channels=256, out_channels=128),
    head=dict(type="InstanceClassifier", num_instances=16000, cosine=False, temperature=1.0),
    data_preprocessor=_base_.data_preprocessor,
)
train_dataloader = dict(
    batch_size=128, dataset=dict(root="data/stl10/seeds", views=_base_.exemplar_views)
)
optim_wrapper = dict(optimizer=dict(lr=0.05, weight_decay=1e-4))
param_scheduler = [
    dict(
        type="WarmupCosineLR", warmup=5, start_ratio=0.01, eta_min=1e-6, convert_to_iter_based=True
    )
]
train_cfg = dict(max_epochs=150)
auto_scale_lr = dict(base_batch_size=128)
