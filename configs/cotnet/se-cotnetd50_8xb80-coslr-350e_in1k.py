"""SE-CoTNetD-50 trained with labels on ImageNet-1k: CoTNet's advanced setup, 350 epochs.

CoTNet (arXiv 2107.12292; JDAI-CV/CoTNet), published top-1 / top-5: 81.6 / 95.8 (of the averaged weights, as here).

    tools/dist_train.sh configs/cotnet/se-cotnetd50_8xb80-coslr-350e_in1k.py 8

Fp32 is the authors'; `--amp bf16` is faster.
"""

_base_ = "cotnet50_8xb80-coslr-350e_in1k.py"

model = dict(backbone=dict(arch="d50"))
