"""LARS on weights, plain SGD on biases, norms and position tables; linear warm-up and cosine per iteration.

A leaf gives lr, weight decay, warm-up, epochs.
"""

train_cfg = dict(type="EpochLoop")
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="LARS", momentum=0.9, eta=1e-3),
    constructor="ParamGroupConstructor",
    paramwise_cfg=dict(
        no_decay=("bias", "norm", "position"), lars_exclude=("bias", "norm", "position")
    ),
)
param_scheduler = [dict(type="WarmupCosineLR", convert_to_iter_based=True)]
