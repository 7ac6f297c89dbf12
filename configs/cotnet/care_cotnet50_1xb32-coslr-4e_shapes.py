"""CARE, CoTNet-50, on the drawn images of Shapes.

    python tools/make_shapes.py data/shapes
    python tools/train.py configs/cotnet/care_cotnet50_1xb32-coslr-4e_shapes.py

500 steps of 32 images at 64 px; all but the network is that of the demo's ResNet-18. The same with ResNet-50:
care_resnet50_1xb32-coslr-4e_shapes.py.
"""

_base_ = "../care/care_resnet18_1xb32-coslr-3e_shapes.py"

model = dict(backbone=dict(_delete_=True, type="CoTNet", arch="50", out_indices=(2, 3)))
train_cfg = dict(max_epochs=4)
