"""The last ResNet stage as RoI head of a C4 detector: trained norm, one more norm behind it."""

extra_norm_res5 = dict(
    type="mmssl.ResLayerExtraNorm",
    style="pytorch",
    norm_cfg=dict(type="SyncBN", requires_grad=True),
    norm_eval=False,
    init_cfg=None,  # layer4.* come from load_from, like the backbone
)
