"""PIC's linear classification on ImageNet-1k: MoCo's with BatchNorm in train mode, a warm-up and a cosine.

PIC (arXiv 2006.14618; official code). Published top-1, ResNet-50: 68.6 / 70.3 / 70.8 (200 / 400 / 1600 epochs);
theirs in the same protocol: InstDisc 60.6 / 62.7 (200 / 400), MoCo v2 64.6 / 67.9 (100 / 200).

    tools/dist_train.sh configs/benchmarks/imagenet_linear/resnet50_pic_8xb32-coslr-100e_in1k.py 8 \
        --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/run/epoch_1955.pth

Not comparable with the others: the backbone's parameters are fixed, but it normalises by the batch while the
classifier learns, and its running statistics move. `model.train_norms=False custom_hooks.0.buffers=True` with a
name of your own in `default_hooks.best_epoch.protocol` is the usual protocol with this schedule. The warm-up begins with
a hundredth of the rate and the cosine ends at 1e-6, as in the pretraining; that of the probe could not be checked.
"""

_base_ = [
    "../_base_/linear_resnet50.py",
    "../_base_/classifier_data.py",
    "../_base_/classifier_runtime.py",
    "../../_base_/schedules/sgd_warmup_cosine.py",
]

model = dict(train_norms=True)
# running statistics are each process's own until the first one's replace them before every step
model_wrapper_cfg = dict(type="MMDistributedDataParallel", broadcast_buffers=True)
train_dataloader = dict(batch_size=32)
optim_wrapper = dict(optimizer=dict(lr=30.0, weight_decay=0.0))
param_scheduler = [
    dict(
        type="WarmupCosineLR", warmup=5, start_ratio=0.01, eta_min=1e-6, convert_to_iter_based=True
    )
]
train_cfg = dict(max_epochs=100)
default_hooks = dict(best_epoch=dict(protocol="linear-pic"))
custom_hooks = [dict(type="FrozenCheckHook", buffers=False)]
auto_scale_lr = dict(base_batch_size=256)
