"""InfoMin, ResNet-50, 800 epochs. Published: 73.0 top-1 in linear evaluation.

tools/dist_train.sh configs/infomin/infomin_resnet50_8xb32-coslr-800e_in1k.py 8
"""

_base_ = "infomin_resnet50_8xb32-coslr-200e_in1k.py"

train_cfg = dict(max_epochs=800)
