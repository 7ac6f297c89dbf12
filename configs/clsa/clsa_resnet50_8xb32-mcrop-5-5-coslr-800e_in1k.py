"""CLSA, ResNet-50, five weak and five strong views, 800 epochs. Published: 76.2 top-1 in linear evaluation.

tools/dist_train.sh configs/clsa/clsa_resnet50_8xb32-mcrop-5-5-coslr-800e_in1k.py 8
"""

_base_ = "clsa_resnet50_8xb32-mcrop-5-5-coslr-200e_in1k.py"

train_cfg = dict(max_epochs=800)
