"""DenseCL, ResNet-50, 200 epochs on ImageNet-1k: the setting of article and released code.

Dense Contrastive Learning for Self-Supervised Visual Pre-Training (arXiv 2011.09157): 58.7 AP in VOC detection,
69.4 mIoU in VOC segmentation, means of five runs.

    tools/dist_train.sh configs/densecl/densecl_resnet50_8xb32-coslr-200e_in1k.py 8

8 GPUs x 32 images. Everything but the dense half of neck and loss is MoCo v2's. Deviations: README.md of this
folder.
"""

_base_ = "../moco/mocov2_resnet50_8xb32-coslr-200e_in1k.py"

model = dict(
    type="DenseCL",
    neck=dict(type="DenseCLNeck", hid_channels=2048, out_channels=128),
    dense_weight=0.5,
)
