"""SGD; a cosine over all epochs that takes a step per epoch, whose beginning is a warm-up of five. A leaf gives lr, decay.

timm's schedule, as CoTNet's supervised training has it: from 1e-4 up, down to 1e-5; biases and norms do not decay.
"""

train_cfg = dict(type="EpochLoop")
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", momentum=0.9),
    constructor="ParamGroupConstructor",
    paramwise_cfg=dict(no_decay=("bias", "norm", "vector")),
)
param_scheduler = [
    dict(
        type="WarmupCosineLR",
        by_epoch=True,
        warmup=5,
        start_value=1e-4,
        eta_min=1e-5,
        cosine_from_start=True,
    )
]
