"""CARE, ResNet-50 (2x), which is wide_resnet50_2, 100 epochs. Published linear evaluation, top-1 / top-5: 73.51 / 91.66.

tools/dist_train.sh configs/care/care_wide-resnet50-2_8xb128-coslr-100e_in1k.py 8 --amp fp16
"""

_base_ = "care_resnet50_8xb128-coslr-100e_in1k.py"

model = dict(backbone=dict(width=2))
