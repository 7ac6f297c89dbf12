"""MoCo v3, ResNet-50, 300 epochs. Published: 72.8 top-1 in linear evaluation.

NNODES=4 NODE_RANK=0 MASTER_ADDR=node0 tools/dist_train.sh configs/mocov3/mocov3_resnet50_32xb128-coslr-300e_in1k.py 8 --amp fp16
"""

_base_ = "mocov3_resnet50_32xb128-coslr-100e_in1k.py"

# 0.3 x batch / 256
optim_wrapper = dict(optimizer=dict(lr=4.8))
train_cfg = dict(max_epochs=300)
