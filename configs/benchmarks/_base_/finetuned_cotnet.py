"""A pretrained CoTNet-50 in a detector or segmenter: stem and first stage frozen, the other norms over all images.

CoTNet's fusions normalise one vector per image, so that norms of two images are of no use: SyncBN, or norm_eval.
"""

finetuned_cotnet = dict(
    _delete_=True,  # of ResNet
    type="mmssl.CoTNet",
    arch="50",
    out_indices=(0, 1, 2, 3),
    frozen_stages=1,
    norm_cfg=dict(type="SyncBN", requires_grad=True),
    norm_eval=False,
    init_cfg=None,  # weights come from load_from
)
# stride 8 with the receptive field of stride 32
dilated_cotnet = dict(finetuned_cotnet, output_stride=8, dilate_mixer=True)
