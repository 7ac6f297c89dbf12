"""DINO, Swin-T (window 14), 300 epochs: EsViT's view-level task alone (L_V). Published linear / k-NN: 77.9 / 75.5.

tools/dist_train.sh configs/dino/dino_swin-tiny-w14_16xb32-coslr-300e_in1k.py 16 --amp fp16
"""

_base_ = "dino_swin-tiny-w7_16xb32-coslr-300e_in1k.py"

model = dict(backbone=dict(window_size=14))
