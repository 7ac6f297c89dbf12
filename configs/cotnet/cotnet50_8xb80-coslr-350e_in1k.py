"""CoTNet-50 trained with labels on ImageNet-1k: CoTNet's advanced setup, 350 epochs.

CoTNet (arXiv 2107.12292; JDAI-CV/CoTNet), published top-1 / top-5: 81.3 / 95.6 (of the averaged weights, as here).

    tools/dist_train.sh configs/cotnet/cotnet50_8xb80-coslr-350e_in1k.py 8

Fp32 is the authors'; `--amp bf16` is faster. Validated is the average of the weights, which is kept beside them (`twin`).
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
    backbone=dict(type="CoTNet", arch="50", out_indices=(3,), drop_path_rate=0.1),
    head=dict(type="LinearHead", num_classes=1000, dropout=0.25, init_std=None),
    label_smoothing=0.1,
    batch_mix=dict(type="BatchMix", mixup_alpha=0.8, cutmix_alpha=1.0),
    momentum=0.9999,
)
train_dataloader = dict(batch_size=80, drop_last=True, dataset=dict(views=_base_.rand_augment_224))
val_dataloader = dict(dataset=dict(views=_base_.centre_224))
# 0.1 x batch / 256
optim_wrapper = dict(optimizer=dict(lr=0.25, weight_decay=4e-5, nesterov=True))
train_cfg = dict(max_epochs=350)
custom_hooks = [dict(type="NormAverageHook")]
default_hooks = dict(best_epoch=dict(protocol="supervised-cotnet-advanced"))
auto_scale_lr = dict(base_batch_size=640)
