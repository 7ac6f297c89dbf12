"""ADE20K UPerNet Swin-T, 160k iterations, from a self-supervised Swin-T.

mmseg's own recipe. mIoU (several scales) of MoBY's repository: supervised 44.51 (45.81), MoBY 44.06
(45.58). EsViT reports no segmentation.

    tools/dist_train.sh configs/benchmarks/ade20k_segmentation/upernet_swin-t_8xb2-160k_ade20k-512x512.py 8 \
        --cfg-options load_from=backbone.pth

8 GPUs x 2 images. Deviation from mmseg: norms with the epsilon of EsViT (1e-6); MoBY and Microsoft's Swin
have 1e-5: model.backbone.norm_cfg.eps=1e-5.
"""

_base_ = [
    "mmseg::swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py",
    "../_base_/transfer_mmseg.py",
    "../_base_/finetuned_swin.py",
]

load_from = "REQUIRED"
auto_scale_lr = dict(enable=False, base_batch_size=16)
model = dict(backbone=_base_.finetuned_swin_mmseg)
