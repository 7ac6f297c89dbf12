"""DINO, Swin-B (window 7), 300 epochs: EsViT's view-level task alone (L_V). Published linear / k-NN: 79.6 / 77.7.

tools/dist_train.sh configs/dino/dino_swin-base-w7_16xb32-coslr-300e_in1k.py 16 --amp fp16
"""

_base_ = "dino_swin-tiny-w7_16xb32-coslr-300e_in1k.py"

model = dict(
    backbone=dict(
        embed_dims=128,
        depths=(2, 2, 18, 2),
        num_heads=(4, 8, 16, 32),
        drop_path_rate=0.2,
    )
)
