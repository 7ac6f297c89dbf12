"""CARE, ResNet-101, 400 epochs. Published linear evaluation, top-1 / top-5: 76.85 / 93.31.

tools/dist_train.sh configs/care/care_resnet101_8xb128-coslr-400e_in1k.py 8 --amp fp16
"""

_base_ = "care_resnet101_8xb128-coslr-100e_in1k.py"

train_cfg = dict(max_epochs=400)
