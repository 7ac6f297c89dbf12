"""DINO's linear probe of a ViT-B: the last block's class token and the mean of its patch tokens.

    python tools/test.py configs/benchmarks/imagenet_linear/vit-base_dino_in1k.py CHECKPOINT --linear

DINO (arXiv 2104.14294, appendix F.2; official code). Published top-1, ViT-B/16: 78.2 after 400 epochs of pretraining
(k-NN 76.1). The numbers stand one behind the other, not alternating as in the released classifiers.
"""

_base_ = ["./vit-small_dino_in1k.py"]

model = dict(backbone=dict(embed_dims=768, num_heads=12))
evaluation = dict(protocol="linear-dino-patches", last_blocks=1, patch_mean=True)
