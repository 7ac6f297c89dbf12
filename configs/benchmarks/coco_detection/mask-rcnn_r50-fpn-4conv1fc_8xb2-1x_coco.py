"""COCO Mask R-CNN R50-FPN, 1x, with norm in the heads too: MoCo's paper, PixPro, DenseCL."""

_base_ = "./mask-rcnn_r50-fpn_8xb2-1x_coco.py"

model = dict(
    roi_head=dict(
        bbox_head=dict(
            type="Shared4Conv1FCBBoxHead",
            conv_out_channels=256,
            norm_cfg=dict(type="SyncBN", requires_grad=True),
        ),
        mask_head=dict(norm_cfg=dict(type="SyncBN", requires_grad=True)),
    )
)
