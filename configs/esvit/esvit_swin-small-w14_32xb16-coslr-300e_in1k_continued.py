"""EsViT, Swin-S (window 14): the region task joins at epoch 180 of 300. Published linear / k-NN: 80.8 / 79.1.

    tools/dist_train.sh configs/dino/dino_swin-small-w14_32xb16-coslr-300e_in1k.py 32 --amp fp16
    tools/dist_train.sh configs/esvit/esvit_swin-small-w14_32xb16-coslr-300e_in1k_continued.py 32 --amp fp16

The second command goes on with the epoch-180 checkpoint of the first one, in the middle of the schedules
and with an optimizer that starts anew, as the released model was made.
"""

_base_ = "esvit_swin-small-w14_32xb16-coslr-300e_in1k.py"

custom_hooks = [
    dict(type="FreezeHook", modules=["head.last_layer", "region_head.last_layer"], epochs=1),
    dict(
        type="ContinuationHook",
        checkpoint="work_dirs/dino_swin-small-w14_32xb16-coslr-300e_in1k/epoch_180.pth",
    ),
]
