"""BYOL, ResNet-50, 40 epochs: the preset of the released code.

NNODES=4 NODE_RANK=0 MASTER_ADDR=node0 tools/dist_train.sh configs/byol/byol_resnet50_32xb128-coslr-40e_in1k.py 8
"""

_base_ = "byol_resnet50_32xb128-coslr-300e_in1k.py"

model = dict(momentum=dict(start=0.97))
# 0.45 x batch / 256
optim_wrapper = dict(optimizer=dict(lr=7.2, weight_decay=1e-6))
train_cfg = dict(max_epochs=40)
