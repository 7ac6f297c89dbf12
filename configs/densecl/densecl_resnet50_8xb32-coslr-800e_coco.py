"""DenseCL, ResNet-50, 800 epochs on the images of COCO train2017: the setting of article and released code.

Published: 56.7 AP in VOC detection, 67.5 mIoU in VOC segmentation, means of five runs.

    tools/dist_train.sh configs/densecl/densecl_resnet50_8xb32-coslr-800e_coco.py 8

8 GPUs x 32 images. The learning rate is ten times ImageNet's.
"""

_base_ = "densecl_resnet50_8xb32-coslr-200e_in1k.py"

train_dataloader = dict(dataset=dict(root="data/coco/train2017"))
optim_wrapper = dict(optimizer=dict(lr=0.3))
train_cfg = dict(max_epochs=800)
