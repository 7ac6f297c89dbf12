"""A linear classifier on a frozen ResNet-50, and the check that it stays frozen."""

model = dict(
    type="ImageClassifier",
    frozen=True,
    backbone=dict(
        type="ResNet",
        depth=50,
        out_indices=(3,),
        init_cfg=dict(type="PretrainedBackbone", checkpoint="REQUIRED"),
    ),
    head=dict(type="LinearHead", num_classes=1000),
)
custom_hooks = [dict(type="FrozenCheckHook")]
