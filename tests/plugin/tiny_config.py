# Trains the classes of tiny_plugin.py on any folder of images.
_base_ = [
    "../../configs/_base_/default_runtime.py",
    "../../configs/_base_/datasets/image_folder.py",
]
custom_imports = dict(imports=["tiny_plugin"])
model = dict(type="TinyVICReg", backbone=dict(type="TinyNet"), neck=dict(type="MeanNeck", dim=8))
crop = [
    dict(type="RandomResizedCrop", size=32, scale=(0.3, 1.0)),
    dict(type="HorizontalFlip", prob=0.5),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(views=dict(type="MultiView", views=[dict(num=2, transforms=crop)])),
)
train_cfg = dict(type="EpochLoop", max_epochs=2)
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.05, momentum=0.9))
custom_hooks = [dict(type="CountImagesHook")]
