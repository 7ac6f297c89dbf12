"""Cityscapes FCN CoTNet-50-d8, 40k iterations: mmseg's recipe of ResNet-50 with another backbone.

The last stages keep stride 8; their mixers are dilated, which the authors' code does not do and no published figure is
of.

    tools/dist_train.sh configs/benchmarks/cityscapes_segmentation/fcn_cotnet50-d8_4xb2-40k_cityscapes-769x769.py 4 \
        --cfg-options load_from=backbone.pth

4 GPUs x 2 images, every stage trained.
"""

_base_ = [
    "mmseg::fcn/fcn_r50-d8_4xb2-40k_cityscapes-769x769.py",
    "../_base_/transfer_mmseg.py",
    "../_base_/finetuned_cotnet.py",
]

load_from = "REQUIRED"
auto_scale_lr = dict(enable=False, base_batch_size=8)
model = dict(pretrained=None, backbone=dict(_base_.dilated_cotnet, frozen_stages=-1))
