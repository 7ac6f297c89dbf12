"""NPID, ResNet-18, on the drawn images of Shapes: 1000 steps of 32 images, one view of 64 px each.

    python tools/make_shapes.py data/shapes
    python tools/train.py configs/npid/npid_resnet18_1xb32-coslr-8e_shapes.py

The recipe of PIC there, with a bank in place of the classifier: a view is to find its own row among all 4000. Only
that comes from the article (its setting for CIFAR).
"""

_base_ = "../pic/pic_resnet18_1xb32-coslr-8e_shapes.py"

model = dict(
    _delete_=True,
    type="NPID",
    data_preprocessor=_base_.model.data_preprocessor,
    backbone=_base_.model.backbone,
    neck=_base_.model.neck,
    num_samples=4000,
    num_negatives=None,
    temperature=0.2,
    bank_momentum=0.5,
)
train_dataloader = dict(sampler=dict(_delete_=True, type="CounterSampler", shuffle=True))
train_cfg = dict(_delete_=True, type="EpochLoop", max_epochs=8)
