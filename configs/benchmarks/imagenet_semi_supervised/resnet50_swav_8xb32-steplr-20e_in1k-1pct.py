"""SwAV's semi-supervised evaluation: the whole network fine-tuned on 1 % of ImageNet-1k, 20 epochs.

SwAV (arXiv 2006.09882; official code): trunk lr .02, classifier lr 5, both x .2 after epochs 12 and 16. Published top-1,
quoted from the article: 53.9 (800 epochs, 2 + 6 crops).

    tools/dist_train.sh configs/benchmarks/imagenet_semi_supervised/resnet50_swav_8xb32-steplr-20e_in1k-1pct.py 8 \
        --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/run/epoch_200.pth

Their code divides red by a standard deviation of .228 instead of .229; for their released weights:
`model.data_preprocessor.type=ViewPreprocessor model.data_preprocessor.std=[58.14,57.12,57.375]`.
"""

_base_ = "resnet50_hcsc_8xb32-steplr-70e_in1k-1pct.py"

optim_wrapper = dict(optimizer=dict(lr=0.02), paramwise_cfg=dict(lr_by_module=dict(head=5.0)))
param_scheduler = [dict(type="MultiStepLR", by_epoch=True, milestones=[12, 16], gamma=0.2)]
train_cfg = dict(max_epochs=20)
default_hooks = dict(best_epoch=dict(protocol="semi-supervised-swav-1pct"))
