"""Weighted k-NN on ImageNet-1k as NPID, DINO, EsViT and HCSC report it: k of {10, 20, 100, 200}, T .07.

    python tools/test.py configs/benchmarks/imagenet_knn/resnet50_knn_in1k.py CHECKPOINT --knn

Pooled features of the last stage, shorter side to 256, central 224 px.
"""

_base_ = ["../../_base_/views/eval.py"]

default_scope = "mmssl"
model = dict(backbone=dict(type="ResNet", depth=50, out_indices=(3,)))
evaluation = dict(
    protocol="knn-npid",
    knn=dict(k=[10, 20, 100, 200], temperature=0.07),
    train_dataset=dict(
        type="ImageFolder", root="data/imagenet/train", labels=True, views=_base_.eval_views
    ),
    val_dataset=dict(
        type="ImageFolder", root="data/imagenet/val", labels=True, views=_base_.eval_views
    ),
    batch_size=256,
    num_workers=8,
)
