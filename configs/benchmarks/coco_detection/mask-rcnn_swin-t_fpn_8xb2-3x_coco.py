"""COCO Mask R-CNN Swin-T FPN, 3x, from a self-supervised Swin-T: EsViT's detection protocol.

mmdet's own recipe: as 1x, 36 epochs, steps at 27 and 33, short sides of 480 to 800 and crops, mixed
precision. EsViT's paper, box AP/AP50/AP75 and mask AP/AP50/AP75: supervised 46.0/68.1/50.3,
41.6/65.1/44.9; EsViT 46.2/68.0/50.6, 41.6/64.9/44.8. MoBY's repository: 46.0 and 41.7.

    tools/dist_train.sh configs/benchmarks/coco_detection/mask-rcnn_swin-t_fpn_8xb2-3x_coco.py 8 \
        --cfg-options load_from=backbone.pth

8 GPUs x 2 images. Deviation from mmdet: norms with the epsilon of EsViT, as in 1x.
"""

_base_ = [
    "mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_amp-ms-crop-3x_coco.py",
    "../_base_/transfer_mmdet.py",
    "../_base_/finetuned_swin.py",
]

load_from = "REQUIRED"
model = dict(backbone=_base_.finetuned_swin_mmdet)
custom_hooks = [dict(type="mmssl.BackboneCheckpointHook")]  # no batch norm to measure
