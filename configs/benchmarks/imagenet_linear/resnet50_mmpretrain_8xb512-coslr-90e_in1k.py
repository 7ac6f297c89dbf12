"""mmpretrain's linear classification with LARS on ImageNet-1k: lr 1.6 at batch 4096, 90 epochs, cosine per epoch.

Its recipe for SimSiam, SimCLR and BYOL: their LARS has the learning rate inside the momentum. It has three more: that
of MoCo, of MoCo v3 and of Barlow Twins (the leaves of these names).

    tools/dist_train.sh configs/benchmarks/imagenet_linear/resnet50_mmpretrain_8xb512-coslr-90e_in1k.py 8 \
        --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/run/epoch_200.pth
"""

_base_ = "resnet50_simsiam_8xb512-coslr-90e_in1k.py"

optim_wrapper = dict(optimizer=dict(lr_in_momentum=True, zero_norm="unit"))
default_hooks = dict(best_epoch=dict(protocol="linear-mmpretrain-lars"))
