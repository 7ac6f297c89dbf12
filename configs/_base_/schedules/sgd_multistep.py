"""SGD with momentum; the learning rate falls to a tenth at some epochs. A leaf gives lr, weight decay, epochs, steps.

The schedule of NPID, MoCo v1 and PCL v1.
"""

train_cfg = dict(type="EpochLoop")
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", momentum=0.9),
    constructor="ParamGroupConstructor",
)
param_scheduler = [dict(type="MultiStepLR", by_epoch=True, milestones=[120, 160], gamma=0.1)]
