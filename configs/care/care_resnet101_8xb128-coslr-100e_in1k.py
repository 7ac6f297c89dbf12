"""CARE, ResNet-101, 100 epochs. Published linear evaluation, top-1 / top-5: 73.54 / 91.63.

tools/dist_train.sh configs/care/care_resnet101_8xb128-coslr-100e_in1k.py 8 --amp fp16
"""

_base_ = "care_resnet50_8xb128-coslr-100e_in1k.py"

model = dict(backbone=dict(depth=101))
