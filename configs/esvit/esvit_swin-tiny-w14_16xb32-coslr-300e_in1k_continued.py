"""EsViT, Swin-T (window 14): the region task joins at epoch 200 of 300. Published linear / k-NN: 78.7 / 77.0.

    tools/dist_train.sh configs/dino/dino_swin-tiny-w14_16xb32-coslr-300e_in1k.py 16 --amp fp16
    tools/dist_train.sh configs/esvit/esvit_swin-tiny-w14_16xb32-coslr-300e_in1k_continued.py 16 --amp fp16

The second command goes on with the epoch-200 checkpoint of the first one, in the middle of the schedules
and with an optimizer that starts anew, as the released model was made.
"""

_base_ = "esvit_swin-tiny-w14_16xb32-coslr-300e_in1k.py"

custom_hooks = [
    dict(type="FreezeHook", modules=["head.last_layer", "region_head.last_layer"], epochs=1),
    dict(
        type="ContinuationHook",
        checkpoint="work_dirs/dino_swin-tiny-w14_16xb32-coslr-300e_in1k/epoch_200.pth",
    ),
]
