"""The demo: an untrained network, BYOL and CARE, a detector and a segmentor from the first and the last.

make demo
"""

_base_ = "shapes.py"

budget = dict(epochs=3)
contestants = dict(
    _delete_=True,
    untrained=dict(
        config="configs/benchmarks/shapes_classification/resnet18_shapes.py", trains=False
    ),
    BYOL=dict(config="configs/byol/byol_resnet18_1xb32-coslr-3e_shapes.py", transfers=False),
    CARE=dict(config="configs/care/care_resnet18_1xb32-coslr-3e_shapes.py"),
)
claims = []
