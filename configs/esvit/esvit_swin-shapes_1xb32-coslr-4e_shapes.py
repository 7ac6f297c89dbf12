_base_ = "../dino/dino_swin-shapes_1xb32-coslr-4e_shapes.py"

model = dict(
    type="EsViT", region_head=dict(out_channels=1024, hid_channels=512, bottleneck_channels=128, use_bn=True)
)
