"""CoTNet-50 with convolutions in its first two stages, trained with labels on ImageNet-1k: CoTNet's default setup, 100 epochs.

CoTNet (arXiv 2107.12292), published top-1: 79.0 (not checked against the article).

    tools/dist_train.sh configs/cotnet/cotnet50-res45_8xb64-coslr-100e_in1k.py 8
"""

_base_ = "cotnet50_8xb64-coslr-100e_in1k.py"

model = dict(backbone=dict(arch=dict(_delete_=True, mixers=("conv", "conv", "cot", "cot"))))
