"""PIC, ResNet-18, on the drawn images of Shapes: how the recipe looks on two CPU cores.

    python tools/train.py configs/pic/pic_resnet18_1xb32-coslr-8e_shapes.py

1000 steps of 32 images, one crop of 64 px each: as many forward passes as the 500 steps of two views of MoCo v2
and others (configs/moco/mocov2_resnet18_1xb32-coslr-4e_shapes.py), and twice their backward passes, for a momentum
copy has none. The other fair count, as many images and steps as there, each with two crops:
`train_cfg.max_epochs=4 train_dataloader.dataset.views.views.0.num=2`. Windows of a fifth of the 4000 images, an
epoch is 5 of them. AdamW as in the other recipes on Shapes. The neck ends in a BatchNorm: without, all images
start with nearly the same embedding, and the rows learn which of them were visited before what is in the images
(k-NN stays that of the untrained network for two epochs). Nothing of it comes from the article.
"""

_base_ = "../_base_/recipes/resnet18_shapes.py"

model = dict(
    type="PIC",
    neck=dict(
        type="MLPNeck",
        hid_channels=512,
        out_channels=128,
        last_norm_cfg=dict(type="BN1d", affine=False),
    ),
    head=dict(type="InstanceClassifier", num_instances=4000, temperature=0.2),
)
train_dataloader = dict(
    sampler=dict(_delete_=True, type="SlidingWindowSampler", window=800, stride=100),
    dataset=dict(views=dict(_delete_=True, **_base_.shapes_one_view)),
)
train_cfg = dict(type="WindowLoop", max_epochs=8)
