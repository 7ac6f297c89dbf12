"""MoCo v3, ViT-B/16, 300 epochs. Published: 76.7 top-1 in linear evaluation, 83.2 fine-tuned.

NNODES=4 NODE_RANK=0 MASTER_ADDR=node0 tools/dist_train.sh configs/mocov3/mocov3_vit-base-p16_32xb128-coslr-300e_in1k.py 8 --amp fp16
"""

_base_ = "mocov3_vit-small-p16_32xb128-coslr-300e_in1k.py"

model = dict(backbone=dict(embed_dims=768))
