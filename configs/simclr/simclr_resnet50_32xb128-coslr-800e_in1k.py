"""SimCLR v1, ResNet-50, 800 epochs, of which no figure is published (those of others are of other recipes: README.md).

NNODES=4 NODE_RANK=0 MASTER_ADDR=node0 tools/dist_train.sh configs/simclr/simclr_resnet50_32xb128-coslr-800e_in1k.py 8
"""

_base_ = "simclr_resnet50_32xb128-coslr-100e_in1k.py"

train_cfg = dict(max_epochs=800)
