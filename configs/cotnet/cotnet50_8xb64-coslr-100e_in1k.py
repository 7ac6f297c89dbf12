"""CoTNet-50 trained with labels on ImageNet-1k: CoTNet's default setup, 100 epochs.

CoTNet (arXiv 2107.12292), published top-1 / top-5: 79.2 / 94.5.

    tools/dist_train.sh configs/cotnet/cotnet50_8xb64-coslr-100e_in1k.py 8

No configuration of it was released. Of this program: weight decay 1e-4 (ResNet's) on all but biases and norms, and
the first and last learning rate of the advanced setup.
"""

_base_ = [
    "../_base_/views/supervised.py",
    "../benchmarks/_base_/classifier_data.py",
    "../benchmarks/_base_/classifier_runtime.py",
    "../_base_/schedules/sgd_supervised_cosine.py",
]

model = dict(
    type="ImageClassifier",
    frozen=False,
    backbone=dict(type="CoTNet", arch="50", out_indices=(3,)),
    head=dict(type="LinearHead", num_classes=1000, init_std=None),
    label_smoothing=0.1,
    momentum=0.9999,
)
train_dataloader = dict(batch_size=64, drop_last=True, dataset=dict(views=_base_.plain_224))
val_dataloader = dict(dataset=dict(views=_base_.centre_224))
# 0.1 x batch / 256
optim_wrapper = dict(optimizer=dict(lr=0.2, weight_decay=1e-4))
train_cfg = dict(max_epochs=100)
custom_hooks = [dict(type="NormAverageHook")]
default_hooks = dict(best_epoch=dict(protocol="supervised-cotnet-default"))
auto_scale_lr = dict(base_batch_size=512)
