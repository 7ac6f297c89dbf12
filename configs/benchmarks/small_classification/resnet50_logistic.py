"""Logistic regression on features of a ResNet-50: how SimCLR and BYOL compare backbones on small data sets.

    python tools/test.py configs/benchmarks/small_classification/resnet50_logistic.py CHECKPOINT --logistic \
        --train data/flowers/train --val data/flowers/test

Shorter side to 224 (bicubic), central 224 px, no augmentation; the L2 penalty is the best of 45 between 1e-6 and 1e5 on
a fifth of the training images, then all of them train (SimCLR, arXiv 2002.05709, appendix B.8; the articles choose on
the validation split of a data set where it has one). Food-101, CIFAR-10 and 100, SUN397, Cars and DTD are reported by
top-1, Aircraft, Pets, Caltech-101 and Flowers by the mean over the classes, for which
`--cfg-options evaluation.logistic.metric=mean_per_class` chooses the penalty; the table has both.
"""

_base_ = ["../../_base_/views/eval.py"]

default_scope = "mmssl"
model = dict(backbone=dict(type="ResNet", depth=50, out_indices=(3,)))
evaluation = dict(
    protocol="logistic-small",
    methods=["logistic"],
    train_dataset=dict(
        type="ImageFolder",
        root="data/small/train",
        labels=True,
        max_bad_ratio=0.0,
        views=_base_.eval_whole_views,
    ),
    val_dataset=dict(
        type="ImageFolder",
        root="data/small/val",
        labels=True,
        max_bad_ratio=0.0,
        views=_base_.eval_whole_views,
    ),
)
