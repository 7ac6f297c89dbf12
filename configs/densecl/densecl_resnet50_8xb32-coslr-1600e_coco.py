"""DenseCL, ResNet-50, 1600 epochs on COCO. Published: 57.2 AP in VOC detection, 68.0 mIoU in VOC segmentation.

tools/dist_train.sh configs/densecl/densecl_resnet50_8xb32-coslr-1600e_coco.py 8
"""

_base_ = "densecl_resnet50_8xb32-coslr-800e_coco.py"

train_cfg = dict(max_epochs=1600)
