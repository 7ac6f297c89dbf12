"""1x and 2x on COCO at 16 images a step, with detectron2's warm-up of 1000 iterations.

By epochs, as mmdet has it, or to the iteration as detectron2 has it.
"""

coco_1x = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type="MultiStepLR", begin=0, end=12, by_epoch=True, milestones=[8, 11], gamma=0.1),
]
coco_2x = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type="MultiStepLR", begin=0, end=24, by_epoch=True, milestones=[16, 22], gamma=0.1),
]
coco_90k = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(
        type="MultiStepLR", begin=0, end=90000, by_epoch=False, milestones=[60000, 80000], gamma=0.1
    ),
]
coco_180k = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(
        type="MultiStepLR",
        begin=0,
        end=180000,
        by_epoch=False,
        milestones=[120000, 160000],
        gamma=0.1,
    ),
]
coco_90k_loop = dict(_delete_=True, type="IterBasedTrainLoop", max_iters=90000, val_interval=10000)
coco_90k_sampler = dict(type="InfiniteSampler")
coco_90k_checkpoint = dict(by_epoch=False, interval=10000)
coco_90k_log = dict(by_epoch=False)
