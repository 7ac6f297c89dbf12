"""CoTNeXt-50 (2x48d) trained with labels on ImageNet-1k: CoTNet's advanced setup, 350 epochs.

CoTNet (arXiv 2107.12292; JDAI-CV/CoTNet), published top-1 / top-5: 82.1 / 95.9 (of the averaged weights, as here).

    tools/dist_train.sh configs/cotnet/cotnext50_8xb64-coslr-350e_in1k.py 8

Fp32 is the authors'; `--amp bf16` is faster.
"""

_base_ = "cotnet50_8xb80-coslr-350e_in1k.py"

model = dict(backbone=dict(arch="x50"))
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(lr=0.2))
auto_scale_lr = dict(base_batch_size=512)
