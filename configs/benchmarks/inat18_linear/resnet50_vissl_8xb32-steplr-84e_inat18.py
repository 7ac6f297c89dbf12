"""VISSL's linear classification on iNaturalist 2018: the one of Places205 with 84 epochs, x.1 at 24, 48 and 72.

SwAV and Barlow Twins report this for the pooled last stage.

    tools/dist_train.sh configs/benchmarks/inat18_linear/resnet50_vissl_8xb32-steplr-84e_inat18.py 8 \
        --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/run/epoch_200.pth

8142 classes, one folder each (437 513 training, 24 426 validation images). Deviation: only the classifier of the last
stage is trained, on its average.
"""

_base_ = [
    "../_base_/linear_resnet50.py",
    "../_base_/classifier_data.py",
    "../_base_/classifier_runtime.py",
    "../../_base_/schedules/sgd_multistep.py",
]

model = dict(head=dict(num_classes=8142, input_norm_cfg=dict(type="BN")))
train_dataloader = dict(batch_size=32, dataset=dict(root="data/inat18/train"))
val_dataloader = dict(dataset=dict(root="data/inat18/val"))
optim_wrapper = dict(
    optimizer=dict(lr=0.01, weight_decay=5e-4, nesterov=True),
    paramwise_cfg=dict(no_decay=("norm",)),
)
param_scheduler = [dict(type="MultiStepLR", by_epoch=True, milestones=[24, 48, 72], gamma=0.1)]
train_cfg = dict(max_epochs=84)
default_hooks = dict(best_epoch=dict(protocol="inat18-vissl"))
auto_scale_lr = dict(base_batch_size=256)
