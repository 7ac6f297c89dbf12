"""EsViT, Swin-T (window 7), regions by squared distance. Published k-NN: 72.6 (74.2 views alone, 75.7 softmax).

    tools/dist_train.sh configs/esvit/esvit_swin-tiny-w7_16xb32-coslr-300e_in1k_mse-regions.py 16 --amp fp16

The article's comparison of region losses; how its code computes this one is not published.
"""

_base_ = "esvit_swin-tiny-w7_16xb32-coslr-300e_in1k.py"

model = dict(region_loss="mse")
custom_hooks = [dict(type="FreezeHook", modules=["head.last_layer"], epochs=1)]
