"""EsViT, Swin-B (window 7), 300 epochs, both tasks from the start. Published linear / k-NN: 80.4 / 78.9.

    tools/dist_train.sh configs/esvit/esvit_swin-base-w7_16xb32-coslr-300e_in1k.py 16 --amp fp16

The published model is continued from the view-level task at epoch 200: `..._continued.py`.
"""

_base_ = "esvit_swin-tiny-w7_16xb32-coslr-300e_in1k.py"

model = dict(
    backbone=dict(
        embed_dims=128,
        depths=(2, 2, 18, 2),
        num_heads=(4, 8, 16, 32),
        drop_path_rate=0.2,
    )
)
