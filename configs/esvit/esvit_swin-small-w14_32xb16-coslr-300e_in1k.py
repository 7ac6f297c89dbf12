"""EsViT, Swin-S (window 14), 300 epochs, both tasks from the start. Published linear / k-NN: 80.8 / 79.1.

    tools/dist_train.sh configs/esvit/esvit_swin-small-w14_32xb16-coslr-300e_in1k.py 32 --amp fp16

The published model is continued from the view-level task at epoch 180: `..._continued.py`.
"""

_base_ = "esvit_swin-tiny-w7_16xb32-coslr-300e_in1k.py"

model = dict(backbone=dict(depths=(2, 2, 18, 2), drop_path_rate=0.2, window_size=14))
train_dataloader = dict(batch_size=16)
