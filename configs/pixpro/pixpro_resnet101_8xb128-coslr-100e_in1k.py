"""PixPro, ResNet-101, 100 epochs: the recipe of ResNet-50. No published result.

tools/dist_train.sh configs/pixpro/pixpro_resnet101_8xb128-coslr-100e_in1k.py 8 --amp fp16
"""

_base_ = "pixpro_resnet50_8xb128-coslr-100e_in1k.py"

model = dict(backbone=dict(depth=101))
