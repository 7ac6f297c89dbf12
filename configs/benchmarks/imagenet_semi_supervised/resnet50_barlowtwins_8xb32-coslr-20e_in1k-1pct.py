"""Barlow Twins' semi-supervised evaluation with 1 % of ImageNet-1k: trunk lr .005, classifier lr .5, cosine per epoch.

Barlow Twins (arXiv 2103.03230; its readme and evaluation script). Published top-1, quoted from the article: 55.0 (1000
epochs). BatchNorm of each GPU alone and no weight decay, as officially; the official code sets no seed, here it is 0.

    tools/dist_train.sh configs/benchmarks/imagenet_semi_supervised/resnet50_barlowtwins_8xb32-coslr-20e_in1k-1pct.py 8 \
        --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/run/epoch_300.pth
"""

_base_ = "resnet50_swav_8xb32-steplr-20e_in1k-1pct.py"

model = dict(backbone=dict(norm_cfg=dict(type="BN")))
optim_wrapper = dict(optimizer=dict(lr=0.005), paramwise_cfg=dict(lr_by_module=dict(head=0.5)))
param_scheduler = [dict(type="WarmupCosineLR", by_epoch=True)]
default_hooks = dict(best_epoch=dict(protocol="semi-supervised-barlowtwins-1pct"))
randomness = dict(seed=0)
