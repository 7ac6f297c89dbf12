"""CoTNet-50 trained with labels on the single objects of Shapes (64 px): the supervised recipe, small.

    python tools/make_shapes.py data/shapes
    python tools/train.py configs/cotnet/cotnet50_1xb32-coslr-10e_shapes.py

Some two seconds a step on two cores. Smaller than the recipe of ImageNet: no RandAugment (its translations are
longer than the images), no dropout, an average that forgets faster.
"""

_base_ = [
    "../benchmarks/_base_/shapes_classifier_data.py",
    "../benchmarks/_base_/classifier_runtime.py",
    "../_base_/schedules/sgd_supervised_cosine.py",
]

model = dict(
    type="ImageClassifier",
    frozen=False,
    backbone=dict(type="CoTNet", arch="50", out_indices=(3,), drop_path_rate=0.1),
    head=dict(type="LinearHead", num_classes=24, init_std=None),
    label_smoothing=0.1,
    batch_mix=dict(type="BatchMix", mixup_alpha=0.8, cutmix_alpha=1.0),
    momentum=0.98,
)
train_dataloader = dict(batch_size=32, drop_last=True)
optim_wrapper = dict(optimizer=dict(lr=0.05, weight_decay=4e-5, nesterov=True))
param_scheduler = [
    dict(
        type="WarmupCosineLR",
        by_epoch=True,
        warmup=2,
        start_value=1e-3,
        eta_min=1e-5,
        cosine_from_start=True,
    )
]
train_cfg = dict(max_epochs=10)
custom_hooks = [dict(type="NormAverageHook")]
default_hooks = dict(best_epoch=dict(protocol="shapes-supervised"))
auto_scale_lr = dict(base_batch_size=32)
