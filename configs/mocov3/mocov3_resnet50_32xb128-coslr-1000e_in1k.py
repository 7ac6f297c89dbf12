"""MoCo v3, ResNet-50, 1000 epochs. Published: 74.6 top-1 in linear evaluation.

NNODES=4 NODE_RANK=0 MASTER_ADDR=node0 tools/dist_train.sh configs/mocov3/mocov3_resnet50_32xb128-coslr-1000e_in1k.py 8 --amp fp16
"""

_base_ = "mocov3_resnet50_32xb128-coslr-300e_in1k.py"

model = dict(momentum=dict(start=0.996))
optim_wrapper = dict(optimizer=dict(weight_decay=1.5e-6))
train_cfg = dict(max_epochs=1000)
