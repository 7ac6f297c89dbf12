"""PixPro and an instance loss, ResNet-50, 400 epochs. Published: COCO, Mask R-CNN FPN 1x: 41.4 box AP, 37.4 mask AP.

tools/dist_train.sh configs/pixpro/pixpro_resnet50_instance_8xb128-coslr-400e_in1k.py 8 --amp fp16
"""

_base_ = "pixpro_resnet50_instance_8xb128-coslr-100e_in1k.py"

train_cfg = dict(max_epochs=400)
