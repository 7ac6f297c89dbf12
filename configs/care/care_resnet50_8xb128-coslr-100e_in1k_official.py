"""CARE, ResNet-50, 100 epochs, as the released code runs it: learned absolute position encoding.

tools/dist_train.sh configs/care/care_resnet50_8xb128-coslr-100e_in1k_official.py 8 --amp fp16
"""

_base_ = "care_resnet50_8xb128-coslr-100e_in1k.py"

model = dict(t_stream=dict(pos_enc="absolute"))
