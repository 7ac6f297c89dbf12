"""A pretrained Swin with every layer trained, its norms as in pretraining; mmdet's and mmseg's class."""

finetuned_swin_mmdet = dict(
    norm_cfg=dict(type="LN", eps=1e-6),
    convert_weights=False,  # exports have mmdet's names already
    init_cfg=None,  # weights come from load_from
)
finetuned_swin_mmseg = dict(norm_cfg=dict(type="LN", eps=1e-6), init_cfg=None)
