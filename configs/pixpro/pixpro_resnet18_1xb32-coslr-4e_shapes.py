"""PixPro, ResNet-18, on the drawn images of Shapes: how the recipe looks on two CPU cores.

    python tools/train.py configs/pixpro/pixpro_resnet18_1xb32-coslr-4e_shapes.py

500 steps of 32 images at 64 px. The last stage keeps stride 16 and dilates, so that its map has 4x4 cells: the
same weights compute the same, less densely, where detectors use them with stride 32. AdamW with a large
step, a twin that follows faster than on ImageNet. The projector ends in a BatchNorm, as BYOL's and CARE's do
here: an untrained network projects all cells of all images to nearly the same vector, propagation makes that
their mean, and without the norm the run spends its first epochs there (loss -3.8, spread of the embeddings a
thirtieth of an even one). Beside it, with the same views and network:
configs/pixcontrast, configs/moco/mocov2_resnet18-d16_1xb32-coslr-4e_shapes.py,
configs/byol/byol_resnet18-d16_1xb32-coslr-4e_shapes.py. Nothing of it comes from the article.
"""

_base_ = "../_base_/recipes/resnet18_shapes.py"

model = dict(
    type="PixPro",
    backbone=dict(output_stride=16),
    neck=dict(
        type="ConvMLPNeck",
        hid_channels=1024,
        out_channels=256,
        norm_cfg=dict(type="BN"),
        last_norm_cfg=dict(type="BN", affine=False),
    ),
    head=dict(type="PixelPropagation"),
    momentum=dict(type="Cosine", start=0.97, end=1.0),
)
train_dataloader = dict(dataset=dict(views=_base_.shapes_pixel_views))
