"""CoTNeXt-101 (2x48d) trained with labels on ImageNet-1k: CoTNet's advanced setup, 350 epochs.

CoTNet (arXiv 2107.12292; JDAI-CV/CoTNet), published top-1 / top-5: 83.2 / 96.4 (of the averaged weights, as here).

    tools/dist_train.sh configs/cotnet/cotnext101_8xb64-coslr-350e_in1k.py 8

Fp32 is the authors'; `--amp bf16` is faster.
"""

_base_ = "cotnet50_8xb80-coslr-350e_in1k.py"

model = dict(backbone=dict(arch="x101"))
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(lr=0.2, weight_decay=6e-5))
auto_scale_lr = dict(base_batch_size=512)
