"""DenseCL, ResNet-101, 200 epochs. Published: 61.3 AP in VOC detection, 74.1 mIoU in VOC segmentation.

tools/dist_train.sh configs/densecl/densecl_resnet101_8xb32-coslr-200e_in1k.py 8
"""

_base_ = "densecl_resnet50_8xb32-coslr-200e_in1k.py"

model = dict(backbone=dict(depth=101))
