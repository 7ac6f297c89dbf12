"""SwAV's semi-supervised evaluation with 10 % of ImageNet-1k: trunk lr .01, classifier lr .2.

SwAV (arXiv 2006.09882; official code). Published top-1, quoted from the article: 70.2 (800 epochs, 2 + 6 crops).

    tools/dist_train.sh configs/benchmarks/imagenet_semi_supervised/resnet50_swav_8xb32-steplr-20e_in1k-10pct.py 8 \
        --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/run/epoch_200.pth

Their code divides red by a standard deviation of .228 instead of .229; for their released weights:
`model.data_preprocessor.type=ViewPreprocessor model.data_preprocessor.std=[58.14,57.12,57.375]`.
"""

_base_ = "resnet50_swav_8xb32-steplr-20e_in1k-1pct.py"

train_dataloader = dict(dataset=dict(subset="data/imagenet/splits/10percent.txt"))
optim_wrapper = dict(optimizer=dict(lr=0.01), paramwise_cfg=dict(lr_by_module=dict(head=0.2)))
default_hooks = dict(best_epoch=dict(protocol="semi-supervised-swav-10pct"))
