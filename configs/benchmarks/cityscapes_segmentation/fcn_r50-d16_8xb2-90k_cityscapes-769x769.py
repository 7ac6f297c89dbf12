"""Cityscapes FCN-16s R50, 90k iterations: the protocol of MoCo's paper.

    tools/dist_train.sh configs/benchmarks/cityscapes_segmentation/fcn_r50-d16_8xb2-90k_cityscapes-769x769.py 8 \
        --cfg-options load_from=backbone.pth

8 GPUs x 2 images. The paper's scales are continuous between 0.5 and 2; seven of them here.
"""

_base_ = [
    "./fcn_r50-d8_4xb2-40k_cityscapes-769x769.py",
    "../_base_/fcn16s.py",
    "../_base_/scale_crop_flip.py",
]
auto_scale_lr = dict(enable=False, base_batch_size=16)

model = dict(
    backbone=_base_.fcn16s_stages,
    decode_head=_base_.fcn16s_head,
    auxiliary_head=None,
    test_cfg=dict(_delete_=True, mode="whole"),
)
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="LoadAnnotations"),
            _base_.scale_half_to_double,
            dict(type="RandomCrop", crop_size=(769, 769)),
            dict(type="RandomFlip", prob=0.5),
            dict(type="PackSegInputs"),
        ]
    )
)
val_dataloader = dict(dataset=dict(pipeline=_base_.original_size))
test_dataloader = val_dataloader
train_cfg = dict(max_iters=90000, val_interval=9000)
param_scheduler = [
    dict(
        type="MultiStepLR", begin=0, end=90000, by_epoch=False, milestones=[63000, 81000], gamma=0.1
    )
]
optim_wrapper = dict(optimizer=dict(weight_decay=1e-4))
