"""VOC07 classification with HCSC's views of 300 px and its mean and deviation of the data set."""

_base_ = "./classifier_data.py"

data_preprocessor = dict(
    type="ViewPreprocessor", mean=[116.6115, 111.894, 103.8615], std=[68.2125, 67.269, 70.8135]
)


def crops(*transforms):
    groups = [dict(num=1, transforms=[dict(type="Resize", size=330), one]) for one in transforms]
    return dict(type="MultiView", boxes=None, views=groups)


train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="VOCClassification",
        root="data/VOCdevkit/VOC2007",
        split="train",
        views=dict(
            type="MultiView",
            boxes=None,
            views=[
                dict(
                    num=1,
                    transforms=[
                        dict(type="Resize", size=[300, 300]),
                        dict(
                            type="OneOf",
                            transforms=[
                                dict(type="ColorJitter", brightness=(0.8, 1.2)),
                                dict(type="RandomGrayscale", prob=0.25),
                            ],
                        ),
                        dict(type="HorizontalFlip", prob=0.25),
                        dict(type="torchvision.transforms.RandomRotation", degrees=25),
                    ],
                )
            ],
        ),
    )
)
val_dataloader = dict(
    batch_size=16,
    dataset=dict(
        _delete_=True,
        type="VOCClassification",
        root="data/VOCdevkit/VOC2007",
        split="val",
        max_bad_ratio=0.0,
        views=crops(dict(type="CenterCrop", size=300)),
    ),
)
val_evaluator = dict(_delete_=True, type="MultiLabelPrecision")
test_dataloader = dict(
    batch_size=16,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type="CounterSampler", shuffle=False),
    collate_fn=dict(type="default_collate"),
    dataset=dict(
        type="VOCClassification",
        root="data/VOCdevkit/VOC2007",
        split="test",
        max_bad_ratio=0.0,
        views=crops(
            dict(type="CornerCrop", size=300, corner="top_left"),
            dict(type="CornerCrop", size=300, corner="top_right"),
            dict(type="CornerCrop", size=300, corner="bottom_left"),
            dict(type="CornerCrop", size=300, corner="bottom_right"),
            dict(type="CenterCrop", size=300),
        ),
    ),
)
test_cfg = dict(type="TestLoop")
test_evaluator = dict(type="MultiLabelPrecision")
