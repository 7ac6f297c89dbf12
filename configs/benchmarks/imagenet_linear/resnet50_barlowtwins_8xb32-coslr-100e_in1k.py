"""Barlow Twins' linear classification on ImageNet-1k: the solver of SwAV's; one of mmpretrain's recipes, too.

Barlow Twins (arXiv 2103.03230; official code). Published top-1, ResNet-50: 73.2 (1000 epochs).

    tools/dist_train.sh configs/benchmarks/imagenet_linear/resnet50_barlowtwins_8xb32-coslr-100e_in1k.py 8 \
        --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/run/epoch_300.pth
"""

_base_ = "resnet50_swav_8xb32-coslr-100e_in1k.py"

default_hooks = dict(best_epoch=dict(protocol="linear-barlowtwins"))
