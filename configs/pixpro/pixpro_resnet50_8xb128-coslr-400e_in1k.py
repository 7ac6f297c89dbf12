"""PixPro, ResNet-50, 400 epochs. Published: VOC07+12 detection, C4: 60.2 AP; COCO, C4 1x: 40.5 box AP.

tools/dist_train.sh configs/pixpro/pixpro_resnet50_8xb128-coslr-400e_in1k.py 8 --amp fp16
"""

_base_ = "pixpro_resnet50_8xb128-coslr-100e_in1k.py"

train_cfg = dict(max_epochs=400)
