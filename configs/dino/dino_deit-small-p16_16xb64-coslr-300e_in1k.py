"""DINO, DeiT-S/16, 300 epochs, batch 1024, by EsViT's recipe (L_V). Published linear / k-NN: 75.9 / 73.2.

    tools/dist_train.sh configs/dino/dino_deit-small-p16_16xb64-coslr-300e_in1k.py 16 --amp fp16

DINO's "boosted" recipe but for the positions of small crops, which are interpolated by EsViT's rule.
"""

_base_ = "dino_vit-small-p16_16xb64-coslr-300e_in1k.py"

model = dict(backbone=dict(pos_interp="esvit"))
