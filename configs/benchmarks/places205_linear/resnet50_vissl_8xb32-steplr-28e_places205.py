"""VISSL's linear classification on Places205: SGD with Nesterov momentum, lr .01, 28 epochs in steps.

Scaling and Benchmarking Self-Supervised Visual Representation Learning (arXiv 1905.01235) and VISSL; SwAV, Barlow Twins
and BYOL report this for the pooled last stage. A BatchNorm of the features stands before the classifier; it is affine
and has no weight decay. Published top-1, ResNet-50, quoted from the articles: supervised 53.2,
MoCo v2 51.8, SimCLR 52.5, BYOL 54.0, SwAV 56.7, Barlow Twins 54.1.

    tools/dist_train.sh configs/benchmarks/places205_linear/resnet50_vissl_8xb32-steplr-28e_places205.py 8 \
        --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/run/epoch_200.pth

Deviations: only the classifier of the last stage is trained, on its average (VISSL trains one for each stage). 28 epochs
as in the articles; VISSL's current code has 14, x.1 at 4, 8 and 12: `train_cfg.max_epochs=14
param_scheduler.0.milestones=[4,8,12] default_hooks.best_epoch.protocol=places205-vissl-14e`.
"""

_base_ = [
    "../_base_/linear_resnet50.py",
    "../_base_/places205_data.py",
    "../_base_/classifier_runtime.py",
    "../../_base_/schedules/sgd_multistep.py",
]

model = dict(head=dict(num_classes=205, input_norm_cfg=dict(type="BN")))
train_dataloader = dict(batch_size=32, dataset=dict(views=_base_.train_crop))
val_dataloader = dict(dataset=dict(views=_base_.val_crop))
optim_wrapper = dict(
    optimizer=dict(lr=0.01, weight_decay=5e-4, nesterov=True),
    paramwise_cfg=dict(no_decay=("norm",)),
)
param_scheduler = [dict(type="MultiStepLR", by_epoch=True, milestones=[8, 16, 24], gamma=0.1)]
train_cfg = dict(max_epochs=28)
default_hooks = dict(best_epoch=dict(protocol="places205-vissl"))
auto_scale_lr = dict(base_batch_size=256)
