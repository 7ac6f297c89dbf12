"""LR-Net-50 trained with labels on ImageNet-1k, 100 epochs.

LR-Net (arXiv 1904.11491), reported top-1: 77.3 with 23.3 million parameters and 4.3 GFLOPs.

    tools/dist_train.sh configs/lrnet/lrnet50_8xb64-coslr-100e_in1k.py 8

The article's schedule was not at hand: this is the recipe of ResNet-50 and CoTNet-50 beside it, 8 x 64 images.
"""

_base_ = "../cotnet/cotnet50_8xb64-coslr-100e_in1k.py"

model = dict(backbone=dict(_delete_=True, type="LRNet", depth=50, out_indices=(3,)))
