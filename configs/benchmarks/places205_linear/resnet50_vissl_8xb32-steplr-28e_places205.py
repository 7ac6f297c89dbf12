"""VISSL's linear classification on Places205: SGD with Nesterov momentum, lr .01, 28 epochs in steps.

Scaling and Benchmarking Self-Supervised Visual Representation Learning (arXiv 1905.01235) and VISSL; SwAV, Barlow Twins
and BYOL report this for the pooled last stage. Published top-1, ResNet-50, quoted from the articles: supervised 53.2,
MoCo v2 51.8, SimCLR 52.5, BYOL 54.0, SwAV 56.7, Barlow Twins 54.1.

    tools/dist_train.sh configs/benchmarks/places205_linear/resnet50_vissl_8xb32-steplr-28e_places205.py 8 \
        --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/run/epoch_200.pth
"""

_base_ = [
    "../_base_/linear_resnet50.py",
    "../_base_/places205_data.py",
    "../_base_/classifier_runtime.py",
    "../../_base_/schedules/sgd_multistep.py",
]

model = dict(head=dict(num_classes=205))
train_dataloader = dict(batch_size=32, dataset=dict(views=_base_.train_crop))
val_dataloader = dict(dataset=dict(views=_base_.val_crop))
optim_wrapper = dict(optimizer=dict(lr=0.01, weight_decay=5e-4, nesterov=True))
param_scheduler = [dict(type="MultiStepLR", by_epoch=True, milestones=[8, 16, 24], gamma=0.1)]
train_cfg = dict(max_epochs=28)
default_hooks = dict(best_epoch=dict(protocol="places205-vissl"))
auto_scale_lr = dict(base_batch_size=256)
