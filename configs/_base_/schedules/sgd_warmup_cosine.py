"""SGD with momentum; linear warm-up and cosine per iteration. A leaf gives lr, weight decay, warm-up, epochs."""

train_cfg = dict(type="EpochLoop")
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", momentum=0.9),
    constructor="ParamGroupConstructor",
)
param_scheduler = [dict(type="WarmupCosineLR", convert_to_iter_based=True)]
