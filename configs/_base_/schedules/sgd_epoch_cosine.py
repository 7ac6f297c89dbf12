"""SGD with momentum; a cosine that takes a step per epoch, without warm-up. A leaf gives lr, weight decay, epochs."""

train_cfg = dict(type="EpochLoop")
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", momentum=0.9),
    constructor="ParamGroupConstructor",
)
param_scheduler = [dict(type="WarmupCosineLR", by_epoch=True)]
