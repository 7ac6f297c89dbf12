"""SimSiam, ResNet-50, 200 epochs. Published: 70.0 top-1 in linear evaluation.

tools/dist_train.sh configs/simsiam/simsiam_resnet50_8xb64-coslr-200e_in1k.py 8
"""

_base_ = "simsiam_resnet50_8xb64-coslr-100e_in1k.py"

train_cfg = dict(max_epochs=200)
