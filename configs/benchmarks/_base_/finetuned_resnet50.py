"""A linear classifier and the pretrained ResNet-50 below it, both trained; norms synchronised over GPUs."""

model = dict(
    type="ImageClassifier",
    frozen=False,
    backbone=dict(
        type="ResNet",
        depth=50,
        out_indices=(3,),
        norm_cfg=dict(type="SyncBN"),
        init_cfg=dict(type="PretrainedBackbone", checkpoint="REQUIRED"),
    ),
    head=dict(type="LinearHead", num_classes=1000),
)
