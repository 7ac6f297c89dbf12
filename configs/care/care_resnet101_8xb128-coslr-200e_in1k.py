"""CARE, ResNet-101, 200 epochs. Published linear evaluation, top-1 / top-5: 75.89 / 92.70.

tools/dist_train.sh configs/care/care_resnet101_8xb128-coslr-200e_in1k.py 8 --amp fp16
"""

_base_ = "care_resnet101_8xb128-coslr-100e_in1k.py"

train_cfg = dict(max_epochs=200)
