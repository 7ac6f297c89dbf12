"""MoBY, Swin-T, 100 epochs. Published (authors' model zoo): 70.9 top-1 in linear evaluation.

tools/dist_train.sh configs/moby/moby_swin-tiny-w7_8xb64-coslr-100e_in1k.py 8 --amp fp16
"""

_base_ = "moby_swin-tiny-w7_8xb64-coslr-300e_in1k.py"

train_cfg = dict(max_epochs=100)
