"""SE-CoTNetD-101 trained with labels on ImageNet-1k: CoTNet's advanced setup, 350 epochs.

CoTNet (arXiv 2107.12292; JDAI-CV/CoTNet), published top-1 / top-5: 83.2 / 96.5 (of the averaged weights, as here).

    tools/dist_train.sh configs/cotnet/se-cotnetd101_8xb64-coslr-350e_in1k.py 8

Fp32 is the authors'; `--amp bf16` is faster.
"""

_base_ = "cotnet50_8xb80-coslr-350e_in1k.py"

model = dict(backbone=dict(arch="d101"))
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(lr=0.2))
auto_scale_lr = dict(base_batch_size=512)
