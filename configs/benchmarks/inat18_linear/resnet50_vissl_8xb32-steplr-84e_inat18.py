"""VISSL's linear classification on iNaturalist 2018: the one of Places205 with 84 epochs, x.1 at 24, 48 and 72.

SwAV and Barlow Twins report this for the pooled last stage.

    tools/dist_train.sh configs/benchmarks/inat18_linear/resnet50_vissl_8xb32-steplr-84e_inat18.py 8 \
        --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/run/epoch_200.pth

8142 classes, one folder each (437 513 training, 24 426 validation images). Deviation: only the classifier of the last
stage is trained, on its average.
"""

_base_ = "../places205_linear/resnet50_vissl_8xb32-steplr-28e_places205.py"

model = dict(head=dict(num_classes=8142))
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="ImageFolder",
        root="data/inat18/train",
        labels=True,
        views=_base_.train_crop,
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="ImageFolder",
        root="data/inat18/val",
        labels=True,
        max_bad_ratio=0.0,
        views=_base_.val_crop,
    )
)
param_scheduler = [dict(type="MultiStepLR", by_epoch=True, milestones=[24, 48, 72], gamma=0.1)]
train_cfg = dict(max_epochs=84)
default_hooks = dict(best_epoch=dict(protocol="inat18-vissl"))
