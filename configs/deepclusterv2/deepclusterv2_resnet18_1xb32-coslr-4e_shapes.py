"""DeepCluster-v2, ResNet-18, on the drawn images of Shapes: the recipe of the others there, 500 steps of 32 images.

    python tools/make_shapes.py data/shapes
    python tools/train.py configs/deepclusterv2/deepclusterv2_resnet18_1xb32-coslr-4e_shapes.py

64 px, two views. Three heads of 100 clusters for 4000 images. Within an epoch of so few and so large steps
embeddings move so far that clusters of what it left tell early images from late ones: the neck ends in a BatchNorm, and
all images are embedded anew before each epoch. Nothing of it comes from the article.
"""

_base_ = "../_base_/recipes/resnet18_shapes.py"

model = dict(
    type="DeepClusterV2",
    neck=dict(
        type="MLPNeck",
        hid_channels=512,
        out_channels=128,
        last_norm_cfg=dict(type="BN1d", affine=False),
    ),
    num_samples=4000,
    num_prototypes=(100, 100, 100),
)
custom_hooks = [*_base_.custom_hooks, dict(type="MemoryClusterHook", embed_anew=True)]
