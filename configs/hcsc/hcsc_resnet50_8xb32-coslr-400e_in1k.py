"""HCSC, ResNet-50, 400 epochs. Published: 71.0 top-1 in linear evaluation, 64.1 k-NN.

tools/dist_train.sh configs/hcsc/hcsc_resnet50_8xb32-coslr-400e_in1k.py 8
"""

_base_ = "hcsc_resnet50_8xb32-coslr-200e_in1k.py"

train_cfg = dict(max_epochs=400)
