# A training run of 60 short iterations of a toy method, for tests that start real processes.
_base_ = ["../../../configs/_base_/default_runtime.py"]
custom_imports = dict(imports=["tests.helpers.toy"])
model = dict(type="ToyMethod", drop=0.2)
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="CounterSampler", shuffle=True),
    collate_fn=dict(type="default_collate"),
    dataset=dict(type="ToyImages", length=40),
)
train_cfg = dict(type="EpochLoop", max_epochs=6)
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.1, momentum=0.9))
default_hooks = dict(
    logger=dict(interval=1),
    checkpoint=dict(type="CheckpointHook", interval=7, by_epoch=False, max_keep_ckpts=2),
)
visualizer = dict(vis_backends=[dict(type="LocalVisBackend")])
