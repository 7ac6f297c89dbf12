"""The scenes of Shapes in VOC's layout: which of the 12 species an image shows."""

_base_ = ["./classifier_data.py", "./shapes_classes.py"]


def scenes(split, *transforms):
    view = dict(num=1, transforms=[dict(type="Resize", size=[96, 96]), *transforms])
    return dict(
        _delete_=True,
        type="VOCClassification",
        root="data/shapes/voc",
        split=split,
        classes=_base_.shapes_classes,
        max_bad_ratio=0.0,
        views=dict(type="MultiView", boxes=None, views=[view]),
    )


train_dataloader = dict(
    num_workers=1, dataset=scenes("train", dict(type="HorizontalFlip", prob=0.5))
)
val_dataloader = dict(batch_size=16, num_workers=1, dataset=scenes("val"))
val_evaluator = dict(_delete_=True, type="MultiLabelPrecision", per_class=True)
