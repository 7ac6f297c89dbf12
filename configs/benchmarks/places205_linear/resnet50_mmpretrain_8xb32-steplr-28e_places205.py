"""MMSelfSup's (now mmpretrain's) linear classification on Places205: VISSL's with other steps and weight decay.

    tools/dist_train.sh configs/benchmarks/places205_linear/resnet50_mmpretrain_8xb32-steplr-28e_places205.py 8 \
        --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/run/epoch_200.pth

The norm of the features is synchronised over GPUs and has no parameters. Deviation: only the classifier of the last
stage is trained, on its average (theirs are five, one per stage).
"""

_base_ = "resnet50_vissl_8xb32-steplr-28e_places205.py"

model = dict(head=dict(input_norm_cfg=dict(_delete_=True, type="SyncBN", affine=False)))
optim_wrapper = dict(optimizer=dict(weight_decay=1e-4))
param_scheduler = [dict(type="MultiStepLR", by_epoch=True, milestones=[7, 14, 21], gamma=0.1)]
default_hooks = dict(best_epoch=dict(protocol="places205-mmpretrain"))
