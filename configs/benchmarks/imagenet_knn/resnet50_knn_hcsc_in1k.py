"""Weighted k-NN on ImageNet-1k as HCSC's script computes it: bicubic resize, k of {10, 20, 100, 200}, T .07.

    python tools/test.py configs/benchmarks/imagenet_knn/resnet50_knn_hcsc_in1k.py CHECKPOINT --knn

Classes without a vote fill up the best five, as in their script (and DINO's); top-1 is the same either way. Published
top-1, the best k: HCSC single crop 60.7, 64.1, 64.5 (200, 400, 800 epochs), multi-crop 66.6, 69.9, 70.6; MoCo v2
55.74 (200 epochs).
"""

_base_ = ["./resnet50_knn_in1k.py"]

evaluation = dict(
    protocol="knn-hcsc",
    knn=dict(fill=True),
    train_dataset=dict(views=dict(_delete_=True, **_base_.eval_bicubic_views)),
    val_dataset=dict(views=dict(_delete_=True, **_base_.eval_bicubic_views)),
)
