"""MoCo's linear classification on ImageNet-1k, as CLSA's, DenseCL's and PixContrast's: SGD lr 30 in steps.

Momentum Contrast (arXiv 1911.05722), section 4.1. The large learning rate belongs to averages of features that
nothing normalises. Published top-1, ResNet-50: MoCo v1 60.8 +- 0.2, MoCo v2 67.5 +- 0.1 (200 epochs), 71.1
(800 epochs).

    tools/dist_train.sh configs/benchmarks/imagenet_linear/resnet50_moco_8xb32-steplr-100e_in1k.py 8 \
        --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/run/epoch_200.pth

Deviation: images are counted exactly; the official code averages batches. The best epoch (the official figure)
and the last one are both in result.json.
"""

_base_ = [
    "../_base_/linear_resnet50.py",
    "../_base_/classifier_data.py",
    "../_base_/classifier_runtime.py",
    "../../_base_/schedules/sgd_multistep.py",
]

train_dataloader = dict(batch_size=32)
optim_wrapper = dict(optimizer=dict(lr=30.0, weight_decay=0.0))
param_scheduler = [dict(type="MultiStepLR", by_epoch=True, milestones=[60, 80], gamma=0.1)]
train_cfg = dict(max_epochs=100)
default_hooks = dict(best_epoch=dict(protocol="linear-moco"))
auto_scale_lr = dict(base_batch_size=256)
