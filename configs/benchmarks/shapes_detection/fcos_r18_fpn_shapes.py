"""Shapes (COCO layout): a light FCOS R18-FPN, whose towers can be pretrained with the trunk and the FPN.

    python tools/train.py configs/benchmarks/shapes_detection/fcos_r18_fpn_shapes.py \
        --cfg-options load_from=backbone.pth

Images, FPN and schedule of faster_rcnn_r18_fpn_shapes.py; P2 to P5 with ranges for images of 96 px.
"""

_base_ = "faster_rcnn_r18_fpn_shapes.py"

model = dict(
    _delete_=True,
    type="FCOS",
    data_preprocessor=_base_.model.data_preprocessor,
    backbone=_base_.model.backbone,
    neck=_base_.model.neck,
    bbox_head=dict(
        type="FCOSHead",
        num_classes=12,
        in_channels=64,
        stacked_convs=2,
        feat_channels=64,
        strides=[4, 8, 16, 32],
        regress_ranges=((-1, 16), (16, 32), (32, 64), (64, 1e8)),
        norm_on_bbox=True,
        centerness_on_reg=True,
        center_sampling=True,
        loss_bbox=dict(type="GIoULoss", loss_weight=1.0),
    ),
    test_cfg=dict(
        nms_pre=256,
        min_bbox_size=0,
        score_thr=0.05,
        nms=dict(type="nms", iou_threshold=0.6),
        max_per_img=20,
    ),
)
