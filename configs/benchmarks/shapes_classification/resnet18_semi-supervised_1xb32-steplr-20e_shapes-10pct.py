"""Semi-supervised classification of Shapes: a ResNet-18 fine-tuned on a tenth of the single objects.

    python tools/make_split.py data/shapes/classify/train --shares 0.1 --out data/shapes/splits
    python tools/train.py \
        configs/benchmarks/shapes_classification/resnet18_semi-supervised_1xb32-steplr-20e_shapes-10pct.py \
        --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/run/epoch_4.pth

The protocol of ImageNet, small: its own learning rates for trunk and classifier, all of it trained.
"""

_base_ = [
    "../_base_/finetuned_resnet50.py",
    "../_base_/shapes_classifier_data.py",
    "../_base_/classifier_runtime.py",
    "../../_base_/schedules/sgd_multistep.py",
]

model = dict(backbone=dict(depth=18, zero_init_residual=True), head=dict(num_classes=24))
train_dataloader = dict(
    batch_size=32, dataset=dict(subset="data/shapes/splits/10percent_seed0.txt")
)
optim_wrapper = dict(
    optimizer=dict(lr=0.01, weight_decay=0.0),
    paramwise_cfg=dict(lr_by_module=dict(head=0.05)),
)
param_scheduler = [dict(type="MultiStepLR", by_epoch=True, milestones=[12, 16], gamma=0.2)]
# eight steps per epoch: validation takes longer than training
train_cfg = dict(max_epochs=20, val_interval=5)
default_hooks = dict(best_epoch=dict(protocol="shapes-semi-supervised-10pct"))
