"""Small networks of every kind, as functions that make them."""

from __future__ import annotations

from mmssl.models.backbones import CoTNet, CvT, LRNet, ResNet, Swin, ViL, VisionTransformer

NETWORKS = {
    "swin": lambda: Swin(8, depths=(2, 1), num_heads=(1, 2), window_size=4, out_indices=(1,)),
    "vit": lambda: VisionTransformer(16, depth=1, num_heads=2, pretrain_img_size=64),
    "cvt": lambda: CvT((8, 16), depths=(1, 1), num_heads=(1, 2), window_sizes=(4, 4), out_indices=(1,)),
    "vil": lambda: ViL(
        (8, 16), depths=(2, 1), num_heads=(1, 2), sparse=(True, True), num_global_tokens=(1, 0),
        patch_sizes=(4, 2), window_sizes=(4, 4), out_indices=(1,),
    ),
    "cotnet": lambda: CoTNet(
        dict(depths=(1, 1, 2), planes=(8, 8, 16), mixers=("cot", "sasa", ("se", "cot"))), out_indices=(2,),
    ),
    "resnet": lambda: ResNet(18, out_indices=(1,)),
    "resnet_with_plugin": lambda: ResNet(
        18, out_indices=(1,), plugins=[dict(cfg=dict(type="DNLBlock"), position="after_conv2")]
    ),
    "lrnet": lambda: LRNet((1, 1, 1, 1), widths=(8,) * 4, shares=(4,) * 4, kernel_size=3, out_indices=(1,)),
}  # fmt: skip
