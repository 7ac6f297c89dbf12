"""EsViT, Swin-T (window 7), 150 epochs on OpenImages v4. Published linear / k-NN on ImageNet-1k: 70.6 / 62.0 (69.6 / 60.3 views alone).

    tools/dist_train.sh configs/esvit/esvit_swin-tiny-w7_16xb64-coslr-150e_openimages.py 16 --amp fp16

The original takes a class-balanced index of the train set (`ImageList` reads one); here every image of the
folder counts once.
"""

_base_ = "esvit_swin-tiny-w7_16xb64-coslr-300e_in1k.py"

train_dataloader = dict(dataset=dict(root="data/openimages/train"))
train_cfg = dict(max_epochs=150)
