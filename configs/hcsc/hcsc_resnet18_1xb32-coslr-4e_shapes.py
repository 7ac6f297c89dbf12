"""HCSC, ResNet-18, on the drawn images of Shapes: how the recipe looks on two CPU cores.

    python tools/train.py configs/hcsc/hcsc_resnet18_1xb32-coslr-4e_shapes.py

MoCo v2's recipe on Shapes with a tree of prototypes from the second epoch on. Results: README.md of this folder.
"""

_base_ = "../moco/mocov2_resnet18_1xb32-coslr-4e_shapes.py"

model = dict(
    type="HCSC",
    prototypes=dict(type="Prototypes", num_clusters=(192, 96, 48)),
)
custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type="ClusterHook", views=_base_.shapes_crop, begin_epoch=1, batch_size=100, cache="memory"
    ),
]
