"""COCO Mask R-CNN Swin-T FPN, 1x, from a self-supervised Swin-T.

mmdet's own recipe: AdamW, drop path .2, one scale. Box / mask AP of MoBY's repository: supervised
43.7 / 39.8, MoBY 43.6 / 39.6. EsViT reports 3x only.

    tools/dist_train.sh configs/benchmarks/coco_detection/mask-rcnn_swin-t_fpn_8xb2-1x_coco.py 8 \
        --cfg-options load_from=backbone.pth

8 GPUs x 2 images. Deviation from mmdet: norms with the epsilon of EsViT (1e-6); MoBY and Microsoft's Swin
have 1e-5: model.backbone.norm_cfg.eps=1e-5.
"""

_base_ = [
    "mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py",
    "../_base_/transfer_mmdet.py",
    "../_base_/finetuned_swin.py",
]

load_from = "REQUIRED"
model = dict(backbone=_base_.finetuned_swin_mmdet)
custom_hooks = [dict(type="mmssl.BackboneCheckpointHook")]  # no batch norm to measure
