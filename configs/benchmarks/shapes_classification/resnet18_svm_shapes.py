"""Linear SVMs for the 12 species in the scenes of Shapes (VOC's layout): PCL's VOC07 protocol, small.

    python tools/test.py configs/benchmarks/shapes_classification/resnet18_svm_shapes.py CHECKPOINT --svm

300 scenes of several objects train, 200 test. VISSL's protocol: `--cfg-options evaluation.svm.protocol=vissl`.
"""

_base_ = ["../_base_/shapes_classes.py"]

default_scope = "mmssl"
scene_views = dict(
    type="MultiView",
    boxes=None,
    views=[dict(num=1, transforms=[dict(type="Resize", size=[128, 128])])],
)
model = dict(backbone=dict(type="ResNet", depth=18, out_indices=(3,), zero_init_residual=True))
evaluation = dict(
    protocol="shapes-svm-pcl",
    methods=["svm"],
    svm=dict(protocol="pcl", low_shot=[1, 2, 4, 8], runs=5),
    train_dataset=dict(
        type="VOCClassification",
        root="data/shapes/voc",
        split="train",
        classes=_base_.shapes_classes,
        max_bad_ratio=0.0,
        views=scene_views,
    ),
    val_dataset=dict(
        type="VOCClassification",
        root="data/shapes/voc",
        split="val",
        classes=_base_.shapes_classes,
        max_bad_ratio=0.0,
        views=scene_views,
    ),
)
