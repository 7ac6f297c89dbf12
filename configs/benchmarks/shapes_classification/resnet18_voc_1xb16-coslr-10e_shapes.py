"""Which of the 12 species a scene of Shapes shows: HCSC's VOC07 protocol, small, in VOC's layout.

    python tools/train.py configs/benchmarks/shapes_classification/resnet18_voc_1xb16-coslr-10e_shapes.py \
        --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/run/epoch_4.pth

Parameters of the backbone are frozen, BatchNorm is in train mode, several classes per image. All of it trained:
`model.frozen=False model.train_norms=False default_hooks.best_epoch.protocol=shapes-voc-fine-tuned custom_hooks=[]`.
"""

_base_ = [
    "../_base_/linear_resnet50.py",
    "../_base_/shapes_voc_data.py",
    "../_base_/classifier_runtime.py",
    "../../_base_/schedules/sgd_epoch_cosine.py",
]

model = dict(
    train_norms=True,
    multi_label=True,
    reduction="sum",
    backbone=dict(depth=18, zero_init_residual=True),
    head=dict(num_classes=12),
)
train_dataloader = dict(batch_size=16)
optim_wrapper = dict(optimizer=dict(lr=0.01, weight_decay=0.0))
param_scheduler = [dict(type="CosineCyclesLR", period=12, shift=1, restart=False)]
train_cfg = dict(max_epochs=10)
default_hooks = dict(
    best_epoch=dict(metric="multi_label/mAP", protocol="shapes-voc"),
    checkpoint=dict(save_best="multi_label/mAP"),
)
custom_hooks = [dict(type="FrozenCheckHook", buffers=False)]
