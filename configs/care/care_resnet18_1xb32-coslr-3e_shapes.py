"""CARE, ResNet-18, on the drawn images of Shapes: the demo's recipe for two CPU cores.

    python tools/train.py configs/care/care_resnet18_1xb32-coslr-3e_shapes.py

Small in everything: 64 px (a 4x4 map for the T-stream), 2 attention blocks, 1024-256 heads. A norm stands
behind the projectors and the twin follows faster, since a few hundred steps must do. Its results are in the
README; nothing of it comes from the paper.
"""

_base_ = "../_base_/recipes/resnet18_shapes.py"

model = dict(
    type="CARE",
    backbone=dict(out_indices=(2, 3)),
    t_stream=dict(
        type="AttentionStack",
        in_stage=2,
        fmap_size=4,
        num_blocks=2,
        num_heads=4,
        head_dim=32,
        proj_factor=4,
        pos_enc="relative",
    ),
    projector=dict(
        hid_channels=1024,
        out_channels=256,
        norm_cfg=dict(type="BN1d"),
        last_norm_cfg=dict(type="BN1d", affine=False),
    ),
    predictor=dict(hid_channels=1024, norm_cfg=dict(type="BN1d")),
    lambda_att=100.0,
    momentum=dict(type="Cosine", start=0.97, end=1.0),
)
train_cfg = dict(max_epochs=3)
