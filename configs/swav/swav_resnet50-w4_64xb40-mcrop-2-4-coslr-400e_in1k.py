"""SwAV, ResNet-50 of four times the width, 2 x 224 + 4 x 96 px, 400 epochs. Published: 77.9 top-1 in linear evaluation.

    NNODES=8 NODE_RANK=0 MASTER_ADDR=node0 tools/dist_train.sh configs/swav/swav_resnet50-w4_64xb40-mcrop-2-4-coslr-400e_in1k.py 8 --amp fp16

64 GPUs x 40 images: the batch before balances the codes too, and every crop shows 8 % or more.
"""

_base_ = "swav_resnet50-w2_128xb32-mcrop-2-4-coslr-400e_in1k.py"

model = dict(backbone=dict(base_channels=256), queue_length=2560, queue_start=0)
train_dataloader = dict(
    batch_size=40, dataset=dict(views=dict(_delete_=True, **_base_.swav_four_views_of_8_percent))
)
auto_scale_lr = dict(base_batch_size=2560)
