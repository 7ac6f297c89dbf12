"""VOC2012 FCN-16s R50, 30k iterations: the protocol of MoCo's paper.

    tools/dist_train.sh configs/benchmarks/voc_segmentation/fcn_r50-d16_8xb2-30k_voc12aug-513x513.py 8 \
        --cfg-options load_from=backbone.pth

8 GPUs x 2 images. The paper's scales are continuous between 0.5 and 2; seven of them here.
"""

_base_ = [
    "./fcn_r50-d8_4xb4-20k_voc12aug-512x512.py",
    "../_base_/fcn16s.py",
    "../_base_/scale_crop_flip.py",
]

model = dict(
    data_preprocessor=dict(size=(513, 513)),
    backbone=_base_.fcn16s_stages,
    decode_head=_base_.fcn16s_head,
    auxiliary_head=None,
)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    _base_.scale_half_to_double,
    dict(type="RandomCrop", crop_size=(513, 513)),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
train_dataloader = dict(
    batch_size=2,
    dataset=dict(
        _delete_=True,
        type="ConcatDataset",
        datasets=[
            dict(
                type="PascalVOCDataset",
                data_root=_base_.data_root,
                data_prefix=dict(img_path="JPEGImages", seg_map_path="SegmentationClass"),
                ann_file="ImageSets/Segmentation/train.txt",
                pipeline=train_pipeline,
            ),
            dict(
                type="PascalVOCDataset",
                data_root=_base_.data_root,
                data_prefix=dict(img_path="JPEGImages", seg_map_path="SegmentationClassAug"),
                ann_file="ImageSets/Segmentation/aug.txt",
                pipeline=train_pipeline,
            ),
        ],
    ),
)
val_dataloader = dict(dataset=dict(pipeline=_base_.original_size))
test_dataloader = val_dataloader
train_cfg = dict(max_iters=30000, val_interval=3000)
param_scheduler = [
    dict(
        type="MultiStepLR", begin=0, end=30000, by_epoch=False, milestones=[21000, 27000], gamma=0.1
    )
]
optim_wrapper = dict(optimizer=dict(lr=0.003, weight_decay=1e-4))
