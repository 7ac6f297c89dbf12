"""EsViT, Swin-B (window 14): the region task joins at epoch 200 of 300. Published linear / k-NN: 81.3 / 79.3.

    tools/dist_train.sh configs/dino/dino_swin-base-w14_64xb8-coslr-300e_in1k.py 64 --amp fp16
    tools/dist_train.sh configs/esvit/esvit_swin-base-w14_64xb8-coslr-300e_in1k_continued.py 64 --amp fp16

The second command goes on with the epoch-200 checkpoint of the first one, in the middle of the schedules
and with an optimizer that starts anew, as the released model was made.
"""

_base_ = "esvit_swin-base-w14_64xb8-coslr-300e_in1k.py"

# as published for this model
model = dict(head=dict(norm_last_layer=True), region_head=dict(norm_last_layer=True))
custom_hooks = [
    dict(type="FreezeHook", modules=["head.last_layer", "region_head.last_layer"], epochs=1),
    dict(
        type="ContinuationHook",
        checkpoint="work_dirs/dino_swin-base-w14_64xb8-coslr-300e_in1k/epoch_200.pth",
    ),
]
