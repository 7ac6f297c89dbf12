"""MoCo v3, ViT-S with a convolutional stem and 11 blocks, 300 epochs, of which no figure is quoted here.

NNODES=4 NODE_RANK=0 MASTER_ADDR=node0 tools/dist_train.sh configs/mocov3/mocov3_vit-conv-small_32xb128-coslr-300e_in1k.py 8 --amp fp16
"""

_base_ = "mocov3_vit-small-p16_32xb128-coslr-300e_in1k.py"

model = dict(
    backbone=dict(
        stem="conv", stem_norm_cfg=dict(type="SyncBN"), depth=11, frozen_patch_embed=False
    )
)
