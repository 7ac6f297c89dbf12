"""ResNet-50 trained with labels on ImageNet-1k: CoTNet's default setup, 100 epochs.

CoTNet (arXiv 2107.12292), published top-1: 77.3.

    tools/dist_train.sh configs/cotnet/resnet50_8xb64-coslr-100e_in1k.py 8

The network that CoTNet-50 is compared with, under the same setup.
"""

_base_ = "cotnet50_8xb64-coslr-100e_in1k.py"

model = dict(
    backbone=dict(_delete_=True, type="ResNet", depth=50, out_indices=(3,), zero_init_residual=True)
)
