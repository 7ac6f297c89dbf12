"""PixContrast, ResNet-50, 100 epochs on ImageNet-1k: the setting of the article.

Propagate Yourself (arXiv 2011.10043), ablation against PixPro at 100 epochs: 0.7 AP less on VOC07+12 (C4), 2.0
box AP less on COCO.

    tools/dist_train.sh configs/pixcontrast/pixcontrast_resnet50_8xb128-coslr-100e_in1k.py 8 --amp fp16

8 GPUs x 128 images. No code is published: README.md of this folder.
"""

_base_ = "../pixpro/pixpro_resnet50_8xb128-coslr-100e_in1k.py"

model = dict(
    _delete_=True,
    type="PixContrast",
    backbone=_base_.model.backbone,
    neck=_base_.model.neck,
    temperature=0.3,
    pos_ratio=0.7,
    momentum=dict(type="Cosine", start=0.99, end=1.0),
    data_preprocessor=_base_.data_preprocessor,
)
