"""CoTNet-101 trained with labels on ImageNet-1k: CoTNet's advanced setup, 350 epochs.

CoTNet (arXiv 2107.12292; JDAI-CV/CoTNet), published top-1 / top-5: 82.8 / 96.2 (of the averaged weights, as here).

    tools/dist_train.sh configs/cotnet/cotnet101_8xb56-coslr-350e_in1k.py 8

Fp32 is the authors'; `--amp bf16` is faster.
"""

_base_ = "cotnet50_8xb80-coslr-350e_in1k.py"

model = dict(backbone=dict(arch="101"))
train_dataloader = dict(batch_size=56)
optim_wrapper = dict(optimizer=dict(lr=0.175, weight_decay=6e-5))
auto_scale_lr = dict(base_batch_size=448)
