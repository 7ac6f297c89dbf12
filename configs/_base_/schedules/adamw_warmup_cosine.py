"""AdamW; linear warm-up and cosine per iteration; no decay of biases, norms and vectors, decay of position tables.

A leaf gives lr, weight decay, warm-up, epochs.
"""

train_cfg = dict(type="EpochLoop")
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", betas=(0.9, 0.999), eps=1e-8),
    constructor="ParamGroupConstructor",
    paramwise_cfg=dict(no_decay=("bias", "norm", "vector")),
)
param_scheduler = [dict(type="WarmupCosineLR", convert_to_iter_based=True)]
