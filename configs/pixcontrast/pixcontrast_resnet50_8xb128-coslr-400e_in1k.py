"""PixContrast, ResNet-50, 400 epochs: the setting of 100 epochs. No published result.

tools/dist_train.sh configs/pixcontrast/pixcontrast_resnet50_8xb128-coslr-400e_in1k.py 8 --amp fp16
"""

_base_ = "pixcontrast_resnet50_8xb128-coslr-100e_in1k.py"

train_cfg = dict(max_epochs=400)
