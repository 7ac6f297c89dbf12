"""HCSC's linear classification on Places205: SGD lr 3, warm restarts every 10 epochs, strong augmentation.

HCSC (arXiv 2202.00455; official code). The cosine goes down per iteration, one iteration late, as the code steps it.
256 x 256 images and the lists `{train,val}_places205.csv`; training: crops of 224 px at that scale, colours as in
MoCo v2.

    tools/dist_train.sh configs/benchmarks/places205_linear/resnet50_hcsc_8xb32-sgdr-100e_places205.py 8 \
        --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/run/epoch_200.pth

Deviation: images are counted exactly. The published figures could not be checked.
"""

_base_ = [
    "../_base_/linear_resnet50.py",
    "../_base_/places205_data.py",
    "../_base_/classifier_runtime.py",
    "../../_base_/schedules/sgd_epoch_cosine.py",
]

model = dict(head=dict(num_classes=205))
train_dataloader = dict(batch_size=32, dataset=dict(views=_base_.strong_crop))
val_dataloader = dict(dataset=dict(views=_base_.square_crop))
optim_wrapper = dict(optimizer=dict(lr=3.0, weight_decay=0.0))
param_scheduler = [dict(type="CosineCyclesLR", period=10, shift=-1, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=100)
default_hooks = dict(best_epoch=dict(protocol="places205-hcsc"))
auto_scale_lr = dict(base_batch_size=256)
