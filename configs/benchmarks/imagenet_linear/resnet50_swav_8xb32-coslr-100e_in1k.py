"""SwAV's and VISSL's linear classification on ImageNet-1k: SGD lr .3, weight decay 1e-6, cosine per epoch.

SwAV (arXiv 2006.09882; official code). Published top-1, ResNet-50: 75.3 (800 epochs, 2 + 6 crops).

    tools/dist_train.sh configs/benchmarks/imagenet_linear/resnet50_swav_8xb32-coslr-100e_in1k.py 8 \
        --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/run/epoch_200.pth

Their code divides red by a standard deviation of .228 instead of .229; for their released weights:
`model.data_preprocessor.type=ViewPreprocessor model.data_preprocessor.std=[58.14,57.12,57.375]`.
"""

_base_ = [
    "../_base_/linear_resnet50.py",
    "../_base_/classifier_data.py",
    "../_base_/classifier_runtime.py",
    "../../_base_/schedules/sgd_epoch_cosine.py",
]

train_dataloader = dict(batch_size=32)
optim_wrapper = dict(optimizer=dict(lr=0.3, weight_decay=1e-6))
train_cfg = dict(max_epochs=100)
default_hooks = dict(best_epoch=dict(protocol="linear-swav"))
auto_scale_lr = dict(base_batch_size=256)
