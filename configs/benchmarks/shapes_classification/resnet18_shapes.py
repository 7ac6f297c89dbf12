"""k-NN and linear probe of a ResNet-18 on the single-object crops of Shapes (64 px).

python tools/test.py configs/benchmarks/shapes_classification/resnet18_shapes.py CHECKPOINT
"""

default_scope = "mmssl"
shapes_views = dict(
    type="MultiView",
    boxes=None,
    views=[dict(num=1, transforms=[dict(type="Resize", size=[64, 64])])],
)
model = dict(backbone=dict(type="ResNet", depth=18, out_indices=(3,), zero_init_residual=True))
evaluation = dict(
    protocol="shapes-features",
    knn=dict(k=[10, 20], temperature=0.07),
    linear=dict(epochs=50, normalize="standardize"),
    train_dataset=dict(
        type="ImageFolder",
        root="data/shapes/classify/train",
        labels=True,
        max_bad_ratio=0.0,
        views=shapes_views,
    ),
    val_dataset=dict(
        type="ImageFolder",
        root="data/shapes/classify/val",
        labels=True,
        max_bad_ratio=0.0,
        views=shapes_views,
    ),
)
