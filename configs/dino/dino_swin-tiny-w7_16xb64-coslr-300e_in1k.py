"""DINO, Swin-T (window 7), 300 epochs, batch 1024: the setting of EsViT's comparison of backbones (L_V).
Published linear / k-NN: 77.1 / 73.7.

    tools/dist_train.sh configs/dino/dino_swin-tiny-w7_16xb64-coslr-300e_in1k.py 16 --amp fp16
"""

_base_ = "dino_swin-tiny-w7_16xb32-coslr-300e_in1k.py"

train_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
auto_scale_lr = dict(base_batch_size=1024)
default_hooks = dict(checkpoint=dict(interval=5, max_keep_ckpts=3))
