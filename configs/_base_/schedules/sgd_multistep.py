"""SGD with momentum; the learning rate falls to a tenth at epochs 120 and 160. A leaf gives lr, weight decay, epochs.

The steps of 200 epochs; where there are others, or of other sizes, a leaf replaces `param_scheduler`.
"""

train_cfg = dict(type="EpochLoop")
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", momentum=0.9),
    constructor="ParamGroupConstructor",
)
param_scheduler = [dict(type="MultiStepLR", by_epoch=True, milestones=[120, 160], gamma=0.1)]
