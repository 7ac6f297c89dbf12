"""CLSA, ResNet-50, one weak and one strong view, 800 epochs. Published: 72.2 top-1 in linear evaluation.

tools/dist_train.sh configs/clsa/clsa_resnet50_8xb32-coslr-800e_in1k.py 8
"""

_base_ = "clsa_resnet50_8xb32-coslr-200e_in1k.py"

train_cfg = dict(max_epochs=800)
