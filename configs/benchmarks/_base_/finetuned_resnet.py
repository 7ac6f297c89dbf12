"""A pretrained ResNet with every layer trained, batch norm included, and its input."""

finetuned_resnet = dict(
    style="pytorch",  # stride in the 3x3 convolution, as pretrained
    frozen_stages=-1,
    norm_cfg=dict(type="SyncBN", requires_grad=True),
    norm_eval=False,
    init_cfg=None,  # weights come from load_from
)
rgb_preprocessor = dict(
    mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
)
