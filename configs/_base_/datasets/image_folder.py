"""A folder of images, labelled or not; a leaf gives batch size, `dataset.root` and `dataset.views`."""

data_preprocessor = dict(
    type="ViewPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
)
train_dataloader = dict(
    num_workers=2,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type="CounterSampler", shuffle=True),
    collate_fn=dict(type="default_collate"),
    dataset=dict(type="ImageFolder", root="data/images"),
)
