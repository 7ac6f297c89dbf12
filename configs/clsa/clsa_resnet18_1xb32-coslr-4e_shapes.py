"""CLSA, ResNet-18, on the drawn images of Shapes: the recipe of the others there, 500 steps of 32 images at 64 px.

    python tools/make_shapes.py data/shapes
    python tools/train.py configs/clsa/clsa_resnet18_1xb32-coslr-4e_shapes.py

Nothing of it comes from the article.
"""

_base_ = "../_base_/recipes/resnet18_shapes.py"

model = dict(
    type="CLSA",
    neck=dict(type="MLPNeck", hid_channels=512, out_channels=128),
    queue_length=1024,
    temperature=0.2,
    momentum=0.99,
)
# key and weak view as the others there, and a strong one
train_dataloader = dict(
    dataset=dict(
        views=dict(
            views=[
                *_base_.shapes_views["views"],
                dict(
                    num=1,
                    transforms=[
                        *_base_.shapes_views["views"][0]["transforms"],
                        dict(
                            type="RandAugment",
                            pool="fixmatch",
                            num_ops=3,
                            magnitude=10,
                            prob=(0.5, 0.5),
                        ),
                    ],
                ),
            ]
        )
    )
)
