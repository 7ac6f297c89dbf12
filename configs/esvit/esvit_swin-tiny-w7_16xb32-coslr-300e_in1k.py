"""EsViT, Swin-T (window 7), 300 epochs, both tasks from the start. Published linear / k-NN: 78.1 / 75.7.

Efficient Self-supervised Vision Transformers for Representation Learning (arXiv 2106.09785), table 1.

    tools/dist_train.sh configs/esvit/esvit_swin-tiny-w7_16xb32-coslr-300e_in1k.py 16 --amp fp16

16 GPUs x 32 images, 2 x 224 + 8 x 96 px. Deviations: README.md of this folder.
"""

_base_ = "../dino/dino_swin-tiny-w7_16xb32-coslr-300e_in1k.py"

model = dict(
    type="EsViT",
    region_head=dict(type="DINOHead", out_channels=65536, norm_last_layer=False),
)
custom_hooks = [
    dict(type="FreezeHook", modules=["head.last_layer", "region_head.last_layer"], epochs=1)
]
default_hooks = dict(checkpoint=dict(interval=5, max_keep_ckpts=3))
