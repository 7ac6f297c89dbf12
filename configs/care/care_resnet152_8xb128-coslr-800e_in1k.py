"""CARE, ResNet-152, 800 epochs. Published linear evaluation, top-1 / top-5: 78.11 / 93.81.

tools/dist_train.sh configs/care/care_resnet152_8xb128-coslr-800e_in1k.py 8 --amp fp16
"""

_base_ = "care_resnet152_8xb128-coslr-100e_in1k.py"

train_cfg = dict(max_epochs=800)
