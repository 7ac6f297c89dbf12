"""SimCLR v1, ResNet-50, 200 epochs, of which no figure is published (SimSiam's 68.3 is of another recipe: README.md).

NNODES=4 tools/dist_train.sh configs/simclr/simclr_resnet50_32xb128-coslr-200e_in1k.py 8
"""

_base_ = "simclr_resnet50_32xb128-coslr-100e_in1k.py"

train_cfg = dict(max_epochs=200)
