"""SimCLR v1, ResNet-50, 200 epochs. Published: 66.6 with a batch of 8192, 61.9 with 256 (MoCo v2's article).

NNODES=4 tools/dist_train.sh configs/simclr/simclr_resnet50_32xb128-coslr-200e_in1k.py 8
"""

_base_ = "simclr_resnet50_32xb128-coslr-100e_in1k.py"

train_cfg = dict(max_epochs=200)
