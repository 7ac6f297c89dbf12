"""PixPro, ResNet-50, 200 epochs: the recipe of 100 epochs. No published result.

tools/dist_train.sh configs/pixpro/pixpro_resnet50_8xb128-coslr-200e_in1k.py 8 --amp fp16
"""

_base_ = "pixpro_resnet50_8xb128-coslr-100e_in1k.py"

train_cfg = dict(max_epochs=200)
