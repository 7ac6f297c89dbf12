"""The C-stream of CARE alone, ResNet-50, 100 epochs: BYOL with CARE's recipe, its baseline.

tools/dist_train.sh configs/care/care_resnet50_c-stream_8xb128-coslr-100e_in1k.py 8 --amp fp16
"""

_base_ = "care_resnet50_8xb128-coslr-100e_in1k.py"

model = dict(t_stream=None)
