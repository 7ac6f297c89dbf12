"""CoTNet-50 with the static context alone trained with labels on ImageNet-1k: CoTNet's default setup, 100 epochs.

CoTNet (arXiv 2107.12292), published top-1 / top-5: 77.1 / 93.5.

    tools/dist_train.sh configs/cotnet/cotnet50-static_8xb64-coslr-100e_in1k.py 8
"""

_base_ = "cotnet50_8xb64-coslr-100e_in1k.py"

model = dict(backbone=dict(fusion="static"))
