"""Linear classification of the single objects of Shapes (64 px) on a frozen ResNet-18, two CPU cores.

    python tools/train.py configs/benchmarks/shapes_classification/resnet18_linear_1xb64-steplr-10e_shapes.py \
        --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/run/epoch_4.pth

The protocol of ImageNet, small: fresh crops in every epoch. A random start, for comparison:
`--cfg-options model.backbone.init_cfg=None`.
"""

_base_ = [
    "../_base_/linear_resnet50.py",
    "../_base_/shapes_classifier_data.py",
    "../_base_/classifier_runtime.py",
    "../../_base_/schedules/sgd_multistep.py",
]

model = dict(backbone=dict(depth=18, zero_init_residual=True), head=dict(num_classes=24))
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(lr=0.3, weight_decay=0.0))
param_scheduler = [dict(type="MultiStepLR", by_epoch=True, milestones=[6, 8], gamma=0.1)]
train_cfg = dict(max_epochs=10)
default_hooks = dict(best_epoch=dict(protocol="shapes-linear"))
