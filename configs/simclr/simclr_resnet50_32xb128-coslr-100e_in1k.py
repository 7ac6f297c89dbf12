"""SimCLR v1, ResNet-50, 100 epochs on ImageNet-1k, LARS: the command of its released readme.

A Simple Framework for Contrastive Learning of Visual Representations (arXiv 2002.05709): 64.5 top-1 in linear
evaluation.

    NNODES=4 NODE_RANK=0 MASTER_ADDR=node0 tools/dist_train.sh configs/simclr/simclr_resnet50_32xb128-coslr-100e_in1k.py 8

32 GPUs x 128 images = 4096, all of which are negatives; accumulation has fewer. Deviations: README.md of this
folder.
"""

_base_ = [
    "../_base_/backbones/resnet50.py",
    "../_base_/datasets/imagenet.py",
    "../_base_/views/simclr.py",
    "../_base_/schedules/lars_warmup_cosine.py",
    "../_base_/default_runtime.py",
]

model = dict(
    type="SimCLR",
    backbone=dict(zero_init_residual=True),
    neck=dict(
        type="MLPNeck",
        num_layers=2,
        hid_channels=2048,
        out_channels=128,
        bias=False,
        last_bias=False,
        norm_cfg=dict(type="SyncBN"),
        last_norm_cfg=dict(type="SyncBN", bias=False),
        init_cfg=dict(type="Normal", layer="Linear", std=0.01),
    ),
    temperature=0.1,
    # the network sees colours between 0 and 1
    data_preprocessor=dict(type="ViewPreprocessor", mean=[0, 0, 0], std=[255, 255, 255]),
)
train_dataloader = dict(batch_size=128, dataset=dict(views=_base_.simclr_views))
# 0.3 x batch / 256, which at this batch is 0.075 x sqrt(batch)
optim_wrapper = dict(optimizer=dict(lr=4.8, weight_decay=1e-6, lr_in_momentum=True))
param_scheduler = [dict(type="WarmupCosineLR", warmup=10, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=100)
auto_scale_lr = dict(base_batch_size=4096)
