"""VOC2012 FCN R50-d8, 20k iterations, from a self-supervised ResNet-50 (DenseCL, MMSelfSup).

mmseg's own recipe, with the plain stem of the pretrained network in place of ResNetV1c's three
convolutions, which no self-supervised file holds.

    tools/dist_train.sh configs/benchmarks/voc_segmentation/fcn_r50-d8_4xb4-20k_voc12aug-512x512.py 4 \
        --cfg-options load_from=backbone.pth

4 GPUs x 4 images.
"""

_base_ = ["mmseg::fcn/fcn_r50-d8_4xb4-20k_voc12aug-512x512.py", "../_base_/transfer_mmseg.py"]

load_from = "REQUIRED"
auto_scale_lr = dict(enable=False, base_batch_size=16)
model = dict(pretrained=None, backbone=dict(type="ResNet"))
