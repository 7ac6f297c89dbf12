"""What CoTNet's detectors have on COCO: norm and four convolutions in the box heads, L1 losses, sizes of 640 to 800.

JDAI-CV/CoTNet's detection repository (detectron2), as its training logs say it.
"""

cotnet_norm = dict(type="SyncBN", requires_grad=True)
l1 = dict(_delete_=True, type="L1Loss", loss_weight=1.0)
cotnet_rpn = dict(loss_bbox=l1)


def cascade_head(stds):
    return dict(
        type="Shared4Conv1FCBBoxHead",
        in_channels=256,
        conv_out_channels=256,
        fc_out_channels=1024,
        roi_feat_size=7,
        num_classes=80,
        norm_cfg=cotnet_norm,
        bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_means=[0.0] * 4, target_stds=list(stds)),
        reg_class_agnostic=True,
        loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
        loss_bbox=dict(type="L1Loss", loss_weight=1.0),
    )


cotnet_box_head = dict(
    type="Shared4Conv1FCBBoxHead", conv_out_channels=256, norm_cfg=cotnet_norm, loss_bbox=l1
)
cotnet_box_heads = [
    cascade_head(stds)
    for stds in ((0.1, 0.1, 0.2, 0.2), (0.05, 0.05, 0.1, 0.1), (1 / 30, 1 / 30, 1 / 15, 1 / 15))
]
cotnet_mask_head = dict(norm_cfg=cotnet_norm)


def between(masks):
    return [
        dict(type="LoadImageFromFile", backend_args=None),
        dict(type="LoadAnnotations", with_bbox=True, with_mask=masks),
        dict(type="RandomResize", scale=[(1333, 640), (1333, 800)], keep_ratio=True),
        dict(type="RandomFlip", prob=0.5),
        dict(type="PackDetInputs"),
    ]


coco_range = between(True)
coco_range_boxes = between(False)
