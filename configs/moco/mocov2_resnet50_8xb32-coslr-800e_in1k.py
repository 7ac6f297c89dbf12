"""MoCo v2, ResNet-50, 800 epochs. Published: 71.1 top-1 in linear evaluation.

tools/dist_train.sh configs/moco/mocov2_resnet50_8xb32-coslr-800e_in1k.py 8
"""

_base_ = "mocov2_resnet50_8xb32-coslr-200e_in1k.py"

train_cfg = dict(max_epochs=800)
