"""VOC2012 UPerNet Swin-T, 20k iterations, from a self-supervised Swin-T.

mmseg's UPerNet of Swin-T on its VOC data and 20k schedule, with its AdamW of ADE20K. No published result.

    tools/dist_train.sh configs/benchmarks/voc_segmentation/upernet_swin-t_4xb4-20k_voc12aug-512x512.py 4 \
        --cfg-options load_from=backbone.pth

4 GPUs x 4 images. Norms with the epsilon of EsViT, as in the config of ADE20K.
"""

_base_ = [
    "mmseg::_base_/models/upernet_swin.py",
    "mmseg::_base_/datasets/pascal_voc12_aug.py",
    "mmseg::_base_/default_runtime.py",
    "mmseg::_base_/schedules/schedule_20k.py",
    "../_base_/transfer_mmseg.py",
    "../_base_/finetuned_swin.py",
    "../_base_/swin_segmentation_20k.py",
]

load_from = "REQUIRED"
auto_scale_lr = dict(enable=False, base_batch_size=16)
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=_base_.finetuned_swin_mmseg,
    decode_head=dict(num_classes=21),
    auxiliary_head=dict(num_classes=21),
)
optim_wrapper = _base_.swin_adamw
param_scheduler = _base_.swin_poly_20k
