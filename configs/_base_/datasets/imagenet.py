"""The training images of ImageNet-1k in class folders; labels serve evaluation only."""

data_preprocessor = dict(
    type="ViewPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
)
train_dataloader = dict(
    num_workers=8,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type="CounterSampler", shuffle=True),
    collate_fn=dict(type="default_collate"),
    dataset=dict(type="ImageFolder", root="data/imagenet/train"),
)
