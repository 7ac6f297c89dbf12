"""PixContrast, ResNet-18, on the drawn images of Shapes: PixPro's recipe there without propagation.

python tools/train.py configs/pixcontrast/pixcontrast_resnet18_1xb32-coslr-4e_shapes.py
"""

_base_ = "../pixpro/pixpro_resnet18_1xb32-coslr-4e_shapes.py"

model = dict(
    _delete_=True,
    type="PixContrast",
    data_preprocessor=_base_.model.data_preprocessor,
    backbone=_base_.model.backbone,
    neck=_base_.model.neck,
    momentum=_base_.model.momentum,
)
