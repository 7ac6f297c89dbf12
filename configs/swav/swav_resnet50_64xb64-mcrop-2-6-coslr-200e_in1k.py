"""SwAV, ResNet-50, 2 x 224 + 6 x 96 px, 200 epochs with batches of 4096. Published: 73.9 top-1 in linear evaluation.

Unsupervised Learning of Visual Features by Contrasting Cluster Assignments (arXiv 2006.09882).

    NNODES=8 NODE_RANK=0 MASTER_ADDR=node0 tools/dist_train.sh configs/swav/swav_resnet50_64xb64-mcrop-2-6-coslr-200e_in1k.py 8 --amp fp16

64 GPUs x 64 images. Deviations: README.md of this folder.
"""

_base_ = [
    "../_base_/backbones/resnet50.py",
    "../_base_/datasets/imagenet.py",
    "../_base_/views/swav.py",
    "../_base_/schedules/lars_warmup_cosine.py",
    "../_base_/default_runtime.py",
]

model = dict(
    type="SwAV",
    neck=dict(type="MLPNeck", hid_channels=2048, out_channels=128, norm_cfg=dict(type="SyncBN")),
    head=dict(num_prototypes=3000),
    temperature=0.1,
    epsilon=0.05,
    data_preprocessor=dict(_base_.data_preprocessor, std=_base_.swav_std),
)
train_dataloader = dict(batch_size=64, dataset=dict(views=_base_.swav_views))
# LARC around SGD: every tensor is scaled and decayed, biases and norms too
optim_wrapper = dict(
    optimizer=dict(lr=4.8, weight_decay=1e-6, norm_of_sum=False, zero_norm="gradient"),
    paramwise_cfg=dict(_delete_=True),
)
param_scheduler = [
    dict(
        type="WarmupCosineLR",
        warmup=10,
        start_ratio=0.0625,
        eta_min_ratio=0.001,
        peak_twice=True,
        convert_to_iter_based=True,
    )
]
custom_hooks = [dict(type="FreezeHook", modules=["head"], iters=313)]
train_cfg = dict(max_epochs=200)
auto_scale_lr = dict(base_batch_size=4096)
