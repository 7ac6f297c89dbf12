"""CARE, ResNet-152, 100 epochs. Published linear evaluation, top-1 / top-5: 74.59 / 92.09.

tools/dist_train.sh configs/care/care_resnet152_8xb128-coslr-100e_in1k.py 8 --amp fp16
"""

_base_ = "care_resnet50_8xb128-coslr-100e_in1k.py"

model = dict(backbone=dict(depth=152))
