"""MoCo v3's linear classification of a ViT-S on ImageNet-1k: SGD lr 12 at batch 1024, 90 epochs, cosine per epoch.

MoCo v3 (arXiv 2104.02057; official code). The feature is the class token behind the last norm; MoCo v3's ViT-S has 12
heads, DeiT's and DINO's has 6. Published top-1, ViT-S/16: 73.2 (300 epochs).

    tools/dist_train.sh configs/benchmarks/imagenet_linear/vit-small_mocov3_8xb128-coslr-90e_in1k.py 8 \
        --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/run/epoch_300.pth

ViT-B: `model.backbone.embed_dims=768`; published 76.7.
"""

_base_ = "resnet50_mocov3_8xb128-coslr-90e_in1k.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="VisionTransformer",
        embed_dims=384,
        depth=12,
        num_heads=12,
        out_indices=(-1,),
        init_cfg=dict(type="PretrainedBackbone", checkpoint="REQUIRED"),
    )
)
# 3 x batch / 256
optim_wrapper = dict(optimizer=dict(lr=12.0))
default_hooks = dict(best_epoch=dict(protocol="linear-mocov3-vit"))
