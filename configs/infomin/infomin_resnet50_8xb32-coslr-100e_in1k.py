"""InfoMin, ResNet-50, 100 epochs. Published: 67.4 top-1 in linear evaluation.

tools/dist_train.sh configs/infomin/infomin_resnet50_8xb32-coslr-100e_in1k.py 8
"""

_base_ = "infomin_resnet50_8xb32-coslr-200e_in1k.py"

train_cfg = dict(max_epochs=100)
