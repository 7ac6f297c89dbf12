"""MoBY, DeiT-S/16, 300 epochs. Published (paper): 72.8 top-1 in linear evaluation.

    tools/dist_train.sh configs/moby/moby_deit-small-p16_8xb64-coslr-300e_in1k.py 8 --amp fp16

The recipe of Swin-T; the class token goes into the projector.
"""

_base_ = "moby_swin-tiny-w7_8xb64-coslr-300e_in1k.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="VisionTransformer",
        patch_size=16,
        embed_dims=384,
        depth=12,
        num_heads=6,
        drop_path_rate=0.2,
    )
)
