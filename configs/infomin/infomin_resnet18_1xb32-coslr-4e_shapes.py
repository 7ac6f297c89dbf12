"""InfoMin, ResNet-18, on the drawn images of Shapes: the recipe of the others there, 500 steps of 32 images at 64 px.

    python tools/make_shapes.py data/shapes
    python tools/train.py configs/infomin/infomin_resnet18_1xb32-coslr-4e_shapes.py

Nothing of it comes from the article.
"""

_base_ = "../_base_/recipes/resnet18_shapes.py"

model = dict(
    type="InfoMin",
    neck=dict(type="MLPNeck", hid_channels=512, out_channels=128),
    queue_length=1024,
    temperature=0.2,
    momentum=0.99,
)
# the views of the others there, and a jigsaw of patches of 32 px
train_dataloader = dict(
    dataset=dict(
        views=dict(
            views=[
                *_base_.shapes_views["views"],
                dict(
                    num=1,
                    transforms=[
                        dict(
                            type="RandomResizedCrop",
                            size=108,
                            scale=(0.6, 1.0),
                            interpolation="bilinear",
                        ),
                        dict(type="HorizontalFlip", prob=0.5),
                        dict(type="PatchGrid", size=32, grid=3),
                    ],
                ),
            ]
        )
    )
)
