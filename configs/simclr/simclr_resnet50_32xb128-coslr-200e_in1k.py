"""SimCLR v1, ResNet-50, 200 epochs. Published: 68.3 top-1 in linear evaluation, as SimSiam's authors repeat it (arXiv 2011.10566).

NNODES=4 tools/dist_train.sh configs/simclr/simclr_resnet50_32xb128-coslr-200e_in1k.py 8
"""

_base_ = "simclr_resnet50_32xb128-coslr-100e_in1k.py"

train_cfg = dict(max_epochs=200)
