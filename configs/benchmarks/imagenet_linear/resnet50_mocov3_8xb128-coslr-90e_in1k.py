"""MoCo v3's linear classification on ImageNet-1k: SGD lr .4 at batch 1024, 90 epochs, cosine per epoch.

MoCo v3 (arXiv 2104.02057; official code); mmpretrain has the same. Published top-1, ResNet-50: 68.9 / 72.8 / 74.6
(100 / 300 / 1000 epochs).

    tools/dist_train.sh configs/benchmarks/imagenet_linear/resnet50_mocov3_8xb128-coslr-90e_in1k.py 8 \
        --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/run/epoch_300.pth

ViT-S: `vit-small_mocov3_8xb128-coslr-90e_in1k.py`.
"""

_base_ = "resnet50_swav_8xb32-coslr-100e_in1k.py"

train_dataloader = dict(batch_size=128)
# 0.1 x batch / 256
optim_wrapper = dict(optimizer=dict(lr=0.4, weight_decay=0.0))
train_cfg = dict(max_epochs=90)
default_hooks = dict(best_epoch=dict(protocol="linear-mocov3"))
auto_scale_lr = dict(base_batch_size=1024)
