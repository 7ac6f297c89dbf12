"""ResNet-50 as in torchvision, last stage; norms synchronised over GPUs."""

model = dict(backbone=dict(type="ResNet", depth=50, out_indices=(3,), norm_cfg=dict(type="SyncBN")))
