"""FCN-16s of MoCo's paper: stage 5 dilated by 2, two 3x3 convolutions of dilation 6, no second head."""

fcn16s_stages = dict(
    type="ResNet", strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2), contract_dilation=False
)
fcn16s_head = dict(channels=256, num_convs=2, dilation=6, concat_input=False, dropout_ratio=0.0)
