"""Cityscapes FCN-16s R50, 40k iterations: MoCo's network and views, as long as PixPro's paper trains it.

PixPro after 400 epochs: 77.2 mIoU. Where the learning rate falls is not said: at 70 and 90 %, as in MoCo's protocol.

    tools/dist_train.sh configs/benchmarks/cityscapes_segmentation/fcn_r50-d16_8xb2-40k_cityscapes-769x769.py 8 \
        --cfg-options load_from=backbone.pth
"""

_base_ = "./fcn_r50-d16_8xb2-90k_cityscapes-769x769.py"

train_cfg = dict(max_iters=40000, val_interval=4000)
param_scheduler = [
    dict(
        type="MultiStepLR", begin=0, end=40000, by_epoch=False, milestones=[28000, 36000], gamma=0.1
    )
]
