"""DINO, ViT-S/16, 100 epochs: the official program's defaults. Published k-NN / linear: 69.3 / 74.0.

    tools/dist_train.sh configs/dino/dino_vit-small-p16_8xb64-coslr-100e_in1k.py 8 --amp fp16

8 GPUs x 64 images, 2 x 224 + 8 x 96 px; teacher temperature 0.04 throughout, prototypes of length 1.
"""

_base_ = "dino_swin-tiny-w7_16xb32-coslr-300e_in1k.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="VisionTransformer",
        patch_size=16,
        embed_dims=384,
        depth=12,
        num_heads=6,
        drop_path_rate=0.1,
        pos_interp="dino",
    ),
    head=dict(norm_last_layer=True),
    teacher_temperature=0.04,
)
train_dataloader = dict(batch_size=64)
train_cfg = dict(max_epochs=100)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))
