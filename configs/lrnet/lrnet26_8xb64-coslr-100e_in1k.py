"""LR-Net-26 trained with labels on ImageNet-1k, 100 epochs.

LR-Net (arXiv 1904.11491), reported top-1: 75.7 with 14.7 million parameters and 2.6 GFLOPs.

    tools/dist_train.sh configs/lrnet/lrnet26_8xb64-coslr-100e_in1k.py 8
"""

_base_ = "lrnet50_8xb64-coslr-100e_in1k.py"

model = dict(backbone=dict(depth=26))
