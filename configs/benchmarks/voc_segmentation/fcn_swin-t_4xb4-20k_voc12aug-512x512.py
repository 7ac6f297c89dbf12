"""VOC2012 FCN Swin-T, 20k iterations, from a self-supervised Swin-T.

The lightest segmenter on a Swin: mmseg's FCN of VOC (heads, data, 20k schedule) on the two last maps, with
mmseg's AdamW of Swin. No published result.

    tools/dist_train.sh configs/benchmarks/voc_segmentation/fcn_swin-t_4xb4-20k_voc12aug-512x512.py 4 \
        --cfg-options load_from=backbone.pth

4 GPUs x 4 images. The output stride is 32: windows are not dilated. Norms as in the config of ADE20K.
"""

_base_ = [
    "mmseg::fcn/fcn_r50-d8_4xb4-20k_voc12aug-512x512.py",
    "../_base_/transfer_mmseg.py",
    "../_base_/swin_segmentation_20k.py",
]

load_from = "REQUIRED"
auto_scale_lr = dict(enable=False, base_batch_size=16)
model = dict(
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type="SwinTransformer",
        embed_dims=96,
        depths=(2, 2, 6, 2),
        num_heads=(3, 6, 12, 24),
        window_size=7,
        out_indices=(2, 3),  # a norm of a map that no head reads would have no gradient
        drop_path_rate=0.3,
        norm_cfg=dict(type="LN", eps=1e-6),
        init_cfg=None,  # weights come from load_from
    ),
    decode_head=dict(in_channels=768, in_index=1),
    auxiliary_head=dict(in_channels=384, in_index=0),
)
optim_wrapper = _base_.swin_adamw
param_scheduler = _base_.swin_poly_20k
