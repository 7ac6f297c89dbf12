"""Cityscapes FCN R50-d8, 40k iterations, from a self-supervised ResNet-50 (MMSelfSup).

mmseg's own recipe, with the plain stem of the pretrained network in place of ResNetV1c's three
convolutions, which no self-supervised file holds.

    tools/dist_train.sh configs/benchmarks/cityscapes_segmentation/fcn_r50-d8_4xb2-40k_cityscapes-769x769.py 4 \
        --cfg-options load_from=backbone.pth

4 GPUs x 2 images.
"""

_base_ = ["mmseg::fcn/fcn_r50-d8_4xb2-40k_cityscapes-769x769.py", "../_base_/transfer_mmseg.py"]

load_from = "REQUIRED"
auto_scale_lr = dict(enable=False, base_batch_size=8)
model = dict(pretrained=None, backbone=dict(type="ResNet"))
