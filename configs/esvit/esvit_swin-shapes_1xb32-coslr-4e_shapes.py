"""EsViT, a small Swin, on the drawn images of Shapes: DINO's recipe for two CPU cores, and regions.

python tools/train.py configs/esvit/esvit_swin-shapes_1xb32-coslr-4e_shapes.py
"""

_base_ = "../dino/dino_swin-shapes_1xb32-coslr-4e_shapes.py"

model = dict(
    type="EsViT",
    region_head=dict(out_channels=1024, hid_channels=512, bottleneck_channels=128),
)
