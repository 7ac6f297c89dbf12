"""EsViT, Swin-B (window 14), 300 epochs, both tasks from the start. Published linear / k-NN: 81.3 / 79.3.

    tools/dist_train.sh configs/esvit/esvit_swin-base-w14_64xb8-coslr-300e_in1k.py 64 --amp fp16

The published model is continued from the view-level task at epoch 200: `..._continued.py`.
"""

_base_ = "esvit_swin-tiny-w7_16xb32-coslr-300e_in1k.py"

model = dict(
    backbone=dict(
        embed_dims=128,
        depths=(2, 2, 18, 2),
        num_heads=(4, 8, 16, 32),
        window_size=14,
        drop_path_rate=0.2,
    )
)
train_dataloader = dict(batch_size=8)
