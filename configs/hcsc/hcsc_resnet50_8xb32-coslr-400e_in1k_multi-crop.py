"""HCSC, ResNet-50, multi-crop, 400 epochs.

Published: 74.1 top-1 in linear evaluation, 69.9 k-NN.

    tools/dist_train.sh configs/hcsc/hcsc_resnet50_8xb32-coslr-400e_in1k_multi-crop.py 8
"""

_base_ = "hcsc_resnet50_8xb32-coslr-200e_in1k_multi-crop.py"

train_cfg = dict(max_epochs=400)
