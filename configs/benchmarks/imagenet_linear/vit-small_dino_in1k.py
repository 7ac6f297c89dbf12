"""DINO's linear probe of a ViT-S: class tokens of the last four blocks, SGD, batch 1024, 100 epochs, cosine.

    python tools/test.py configs/benchmarks/imagenet_linear/vit-small_dino_in1k.py CHECKPOINT --linear

DINO (arXiv 2104.14294, appendix F.2; official code). Published top-1, ViT-S/16: 77.0 after 800 epochs of pretraining
(k-NN 74.5), 74.0 after 100 (69.3). Learning rate, cached crops and cosine as in swin-t_esvit_in1k.py,
with the same deviations. The teacher's weights, which are the default.
"""

_base_ = ["./swin-t_esvit_in1k.py"]

model = dict(
    backbone=dict(_delete_=True, type="VisionTransformer", embed_dims=384, depth=12, num_heads=6)
)
evaluation = dict(protocol="linear-dino")
