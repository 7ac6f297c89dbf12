"""CARE, ResNet-50 (2x), which is wide_resnet50_2, 800 epochs. Published linear evaluation, top-1 / top-5: 77.04 / 93.22.

tools/dist_train.sh configs/care/care_wide-resnet50-2_8xb128-coslr-800e_in1k.py 8 --amp fp16
"""

_base_ = "care_wide-resnet50-2_8xb128-coslr-100e_in1k.py"

train_cfg = dict(max_epochs=800)
