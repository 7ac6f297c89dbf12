"""Weighted k-NN on ImageNet-1k on the features of the backbone: k of {10, 20, 100, 200}, T .07.

    python tools/test.py configs/benchmarks/imagenet_knn/resnet50_knn_in1k.py CHECKPOINT --knn

Pooled features of the last stage, shorter side to 256 (bilinear), central 224 px. DINO and EsViT resize bicubically
(swin-t_knn_in1k.py), HCSC does so too and counts the top-5 otherwise (resnet50_knn_hcsc_in1k.py). NPID's figures are
for its embeddings of 128 numbers behind the projection and k = 200: not comparable with these.
"""

_base_ = ["../../_base_/views/eval.py"]

default_scope = "mmssl"
model = dict(backbone=dict(type="ResNet", depth=50, out_indices=(3,)))
evaluation = dict(
    protocol="knn-backbone-bilinear",
    knn=dict(k=[10, 20, 100, 200], temperature=0.07),
    train_dataset=dict(
        type="ImageFolder",
        root="data/imagenet/train",
        labels=True,
        max_bad_ratio=0.0,
        views=_base_.eval_views,
    ),
    val_dataset=dict(
        type="ImageFolder",
        root="data/imagenet/val",
        labels=True,
        max_bad_ratio=0.0,
        views=_base_.eval_views,
    ),
    batch_size=256,
    num_workers=8,
)
