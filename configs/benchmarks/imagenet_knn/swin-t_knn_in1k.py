"""Weighted k-NN on ImageNet-1k of a Swin-T as DINO and EsViT report it: k of {10, 20, 100, 200}, T .07.

    python tools/test.py configs/benchmarks/imagenet_knn/swin-t_knn_in1k.py CHECKPOINT --knn

The view's feature (mean of the normalised tokens), shorter side to 256 (bicubic), central 224 px. Published for
k = 20, Swin-T W7, 300 epochs: 75.7 (view and region loss), 74.2 (view loss only), with the teacher's
weights, which are the default.
Windows of 14: `--cfg-options model.backbone.window_size=14`.
"""

_base_ = ["../../_base_/views/eval.py"]

default_scope = "mmssl"
model = dict(backbone=dict(type="Swin"))
evaluation = dict(
    protocol="knn-dino",
    knn=dict(k=[10, 20, 100, 200], temperature=0.07),
    train_dataset=dict(
        type="ImageFolder",
        root="data/imagenet/train",
        labels=True,
        max_bad_ratio=0.0,
        views=_base_.eval_bicubic_views,
    ),
    val_dataset=dict(
        type="ImageFolder",
        root="data/imagenet/val",
        labels=True,
        max_bad_ratio=0.0,
        views=_base_.eval_bicubic_views,
    ),
    batch_size=256,
    num_workers=8,
)
