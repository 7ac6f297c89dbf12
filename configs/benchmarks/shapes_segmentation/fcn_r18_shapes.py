"""Shapes (VOC layout): a light FCN R18 of output stride 16 that two CPU cores train in a minute.

    python tools/train.py configs/benchmarks/shapes_segmentation/fcn_r18_shapes.py \
        --cfg-options load_from=backbone.pth

Images of any size are brought to about 96 px. Few labels: train_dataloader.dataset.indices=200
takes the first 200 images.
"""

_base_ = [
    "mmseg::fcn/fcn_r50-d8_4xb4-20k_voc12aug-512x512.py",
    "../_base_/transfer_mmseg.py",
    "../_base_/shapes_classes.py",
]

load_from = "REQUIRED"
data_root = "data/shapes/voc/"
model = dict(
    pretrained=None,
    data_preprocessor=dict(size=(96, 96)),
    backbone=dict(
        type="ResNet",
        depth=18,
        strides=(1, 2, 2, 1),
        dilations=(1, 1, 1, 2),
        norm_cfg=dict(type="BN", requires_grad=True),
    ),
    decode_head=dict(
        in_channels=512,
        channels=64,
        num_convs=1,
        concat_input=False,
        num_classes=13,
        norm_cfg=dict(type="BN", requires_grad=True),
    ),
    auxiliary_head=None,
)

train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(
        _delete_=True,
        type="BaseSegDataset",  # PascalVOCDataset takes subsets of VOC's classes only
        data_root=data_root,
        data_prefix=dict(img_path="JPEGImages", seg_map_path="SegmentationClass"),
        ann_file="ImageSets/Segmentation/train.txt",
        metainfo=dict(classes=_base_.shapes_segments, palette=_base_.shapes_segment_palette),
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="LoadAnnotations"),
            dict(type="RandomResize", scale=(96, 96), ratio_range=(0.75, 1.5), keep_ratio=True),
            dict(type="RandomCrop", crop_size=(96, 96)),
            dict(type="RandomFlip", prob=0.5),
            dict(type="PackSegInputs"),
        ],
    ),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=1,
    dataset=dict(
        type="BaseSegDataset",
        data_root=data_root,
        metainfo=dict(classes=_base_.shapes_segments, palette=_base_.shapes_segment_palette),
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="Resize", scale=(96, 96), keep_ratio=True),
            dict(type="LoadAnnotations"),  # after Resize: the metric is at the images' own size
            dict(type="PackSegInputs"),
        ],
    ),
)
test_dataloader = val_dataloader

train_cfg = dict(max_iters=150, val_interval=150)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=15),
    dict(type="PolyLR", eta_min=0.0, power=0.9, begin=15, end=150, by_epoch=False),
]
optim_wrapper = dict(optimizer=dict(lr=0.1))
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=150, max_keep_ckpts=1))
