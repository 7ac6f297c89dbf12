"""SimCLR v1, ResNet-50, 800 epochs. Published: 70.4 top-1 in linear evaluation, as SimSiam's authors repeat it.

NNODES=4 tools/dist_train.sh configs/simclr/simclr_resnet50_32xb128-coslr-800e_in1k.py 8
"""

_base_ = "simclr_resnet50_32xb128-coslr-100e_in1k.py"

train_cfg = dict(max_epochs=800)
