"""EsViT, Swin-T (window 7), 300 epochs, batch 1024: the setting of the comparison of backbones. Published
linear / k-NN: 77.6 / 75.4 (77.1 / 73.7 without the region task).

    tools/dist_train.sh configs/esvit/esvit_swin-tiny-w7_16xb64-coslr-300e_in1k.py 16 --amp fp16
"""

_base_ = "esvit_swin-tiny-w7_16xb32-coslr-300e_in1k.py"

train_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
auto_scale_lr = dict(base_batch_size=1024)
