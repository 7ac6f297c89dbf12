"""PixPro of trunk and FPN, ResNet-50, 100 epochs on ImageNet-1k: detector and pretraining share their neck.

    tools/dist_train.sh configs/pixpro/pixpro_resnet50-fpn_8xb128-coslr-100e_in1k.py 8 --amp fp16

The FPN is that of configs/benchmarks/coco_detection/mask-rcnn_r50-fpn*, SyncBN included. P3 to P6 take part
(28, 14, 7 and 4 cells a side), with one projector and one propagation module for all. The article reports up to
+1.2 AP for pretraining more than the trunk; neither code nor settings of that are released, so these are ours.
Export: tools/export_backbone.py CHECKPOINT OUT --to mmdet --parts backbone neck
"""

_base_ = "pixpro_resnet50_8xb128-coslr-100e_in1k.py"

model = dict(
    backbone=dict(out_indices=(0, 1, 2, 3)),
    pyramid=dict(
        type="DetectorPyramid",
        neck=dict(
            type="mmdet.FPN",
            in_channels=[256, 512, 1024, 2048],
            out_channels=256,
            num_outs=5,
            norm_cfg=dict(type="SyncBN", requires_grad=True),
        ),
        levels=(3, 4, 5, 6),
    ),
)
