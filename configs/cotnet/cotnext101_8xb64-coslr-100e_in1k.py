"""CoTNeXt-101 (2x48d) trained with labels on ImageNet-1k: CoTNet's default setup, 100 epochs.

CoTNet (arXiv 2107.12292), published top-1: 80.3.

    tools/dist_train.sh configs/cotnet/cotnext101_8xb64-coslr-100e_in1k.py 8
"""

_base_ = "cotnet50_8xb64-coslr-100e_in1k.py"

model = dict(backbone=dict(arch="x101"))
