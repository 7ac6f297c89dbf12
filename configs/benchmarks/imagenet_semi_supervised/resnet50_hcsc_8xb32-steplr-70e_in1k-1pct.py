"""HCSC's semi-supervised evaluation: the whole network fine-tuned on 1 % of ImageNet-1k, 70 epochs.

HCSC (arXiv 2202.00455; official code): trunk lr .005, classifier lr .02, both x .1 after epochs 30 and 60, seed 31.

    tools/dist_train.sh configs/benchmarks/imagenet_semi_supervised/resnet50_hcsc_8xb32-steplr-70e_in1k-1pct.py 8 \
        --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/run/epoch_200.pth

`data/imagenet/splits/1percent.txt` is SimCLR's list (12 811 images; log and result.json say whether it is). A list of
`tools/make_split.py`: `train_dataloader.dataset.subset=data/imagenet/splits/1percent_seed0.txt`. Deviations: red is divided by a standard deviation of .229, officially by .228; images are
counted exactly. The published figures could not be checked.
"""

_base_ = [
    "../_base_/finetuned_resnet50.py",
    "../_base_/classifier_data.py",
    "../_base_/classifier_runtime.py",
    "../../_base_/schedules/sgd_multistep.py",
]

train_dataloader = dict(batch_size=32, dataset=dict(subset="data/imagenet/splits/1percent.txt"))
optim_wrapper = dict(
    optimizer=dict(lr=0.005, weight_decay=0.0),
    paramwise_cfg=dict(lr_by_module=dict(head=0.02)),
)
param_scheduler = [dict(type="MultiStepLR", by_epoch=True, milestones=[30, 60], gamma=0.1)]
train_cfg = dict(max_epochs=70)
default_hooks = dict(best_epoch=dict(protocol="semi-supervised-hcsc-1pct"))
randomness = dict(seed=31)
auto_scale_lr = dict(base_batch_size=256)
