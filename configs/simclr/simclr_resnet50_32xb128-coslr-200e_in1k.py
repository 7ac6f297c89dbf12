"""SimCLR v1, ResNet-50, 200 epochs, batch 4096; MoCo v2's article has 66.6 for a batch of 8192 and 61.9 for 256.

NNODES=4 NODE_RANK=0 MASTER_ADDR=node0 tools/dist_train.sh configs/simclr/simclr_resnet50_32xb128-coslr-200e_in1k.py 8
"""

_base_ = "simclr_resnet50_32xb128-coslr-100e_in1k.py"

train_cfg = dict(max_epochs=200)
