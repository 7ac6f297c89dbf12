"""CARE, ResNet-50, 200 epochs. Published linear evaluation, top-1 / top-5: 73.78 / 91.50.

tools/dist_train.sh configs/care/care_resnet50_8xb128-coslr-200e_in1k.py 8 --amp fp16
"""

_base_ = "care_resnet50_8xb128-coslr-100e_in1k.py"

train_cfg = dict(max_epochs=200)
