"""SwAV, ResNet-50 of twice the width, 2 x 224 + 4 x 96 px, 400 epochs. Published: 77.3 top-1 in linear evaluation.

NNODES=16 NODE_RANK=0 MASTER_ADDR=node0 tools/dist_train.sh configs/swav/swav_resnet50-w2_128xb32-mcrop-2-4-coslr-400e_in1k.py 8 --amp fp16
"""

_base_ = "swav_resnet50_64xb64-mcrop-2-6-coslr-400e_in1k.py"

model = dict(backbone=dict(base_channels=128), neck=dict(hid_channels=8192))
train_dataloader = dict(
    batch_size=32, dataset=dict(views=dict(_delete_=True, **_base_.swav_four_small_views))
)
