"""Linear probe on ImageNet-1k with cached features and a sweep of learning rates in one pass.

    python tools/test.py configs/benchmarks/imagenet_linear/resnet50_sweep_in1k.py CHECKPOINT --linear

Deviation from the published protocols: the features are those of the evaluation crop, without
augmentation. Good for comparing backbones with each other in minutes, some points below the tables.
"""

_base_ = ["../imagenet_knn/resnet50_knn_in1k.py"]

evaluation = dict(
    protocol="linear-cached-sweep",
    linear=dict(
        lrs=[0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0],
        epochs=30,
        batch_size=1024,
        normalize="standardize",
    ),
)
