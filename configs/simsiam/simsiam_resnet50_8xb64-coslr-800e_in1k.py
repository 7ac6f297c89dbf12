"""SimSiam, ResNet-50, 800 epochs. Published: 71.3 top-1 in linear evaluation.

tools/dist_train.sh configs/simsiam/simsiam_resnet50_8xb64-coslr-800e_in1k.py 8
"""

_base_ = "simsiam_resnet50_8xb64-coslr-100e_in1k.py"

train_cfg = dict(max_epochs=800)
