"""DINO, Swin-S (window 7), 300 epochs: EsViT's view-level task alone (L_V). Published linear / k-NN: 79.2 / 76.8.

tools/dist_train.sh configs/dino/dino_swin-small-w7_16xb32-coslr-300e_in1k.py 16 --amp fp16
"""

_base_ = "dino_swin-tiny-w7_16xb32-coslr-300e_in1k.py"

model = dict(backbone=dict(depths=(2, 2, 18, 2), drop_path_rate=0.2))
