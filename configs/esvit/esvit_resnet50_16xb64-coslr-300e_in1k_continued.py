"""EsViT, ResNet-50: the region task joins at epoch 200 of 300. Published linear / k-NN: 75.7 / 71.2.

tools/dist_train.sh configs/dino/dino_resnet50_16xb64-coslr-300e_in1k.py 16 --amp fp16
tools/dist_train.sh configs/esvit/esvit_resnet50_16xb64-coslr-300e_in1k_continued.py 16 --amp fp16
"""

_base_ = "esvit_resnet50_16xb64-coslr-300e_in1k.py"

custom_hooks = [
    dict(type="FreezeHook", modules=["head.last_layer", "region_head.last_layer"], epochs=1),
    dict(
        type="ContinuationHook",
        checkpoint="work_dirs/dino_resnet50_16xb64-coslr-300e_in1k/epoch_200.pth",
    ),
]
