"""SwAV, ResNet-50 of five times the width, 2 x 224 + 4 x 96 px, 400 epochs. Published: 78.5 top-1 in linear evaluation.

    NNODES=16 NODE_RANK=0 MASTER_ADDR=node0 tools/dist_train.sh configs/swav/swav_resnet50-w5_128xb12-mcrop-2-4-coslr-400e_in1k.py 8 --amp fp16

128 GPUs x 12 images: the batch before balances the codes too.
"""

_base_ = "swav_resnet50-w2_128xb32-mcrop-2-4-coslr-400e_in1k.py"

model = dict(
    backbone=dict(base_channels=320),
    neck=dict(hid_channels=10240),
    queue_length=1536,
    queue_start=0,
)
train_dataloader = dict(batch_size=12)
param_scheduler = [
    dict(
        type="WarmupCosineLR",
        warmup=10,
        start_ratio=0.0390625,
        peak_twice=True,
        convert_to_iter_based=True,
    )
]
auto_scale_lr = dict(base_batch_size=1536)
