"""DINO, Swin-S (window 14), 300 epochs: EsViT's view-level task alone (L_V). Published linear / k-NN: 79.4 / 77.3.

tools/dist_train.sh configs/dino/dino_swin-small-w14_32xb16-coslr-300e_in1k.py 32 --amp fp16
"""

_base_ = "dino_swin-tiny-w7_16xb32-coslr-300e_in1k.py"

model = dict(backbone=dict(depths=(2, 2, 18, 2), drop_path_rate=0.2, window_size=14))
train_dataloader = dict(batch_size=16)
