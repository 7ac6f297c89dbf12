"""EsViT, Swin-T (window 7), 150 epochs on WebVision v1. Published linear / k-NN on ImageNet-1k: 75.9 / 71.2 (75.4 / 69.4 views alone).

tools/dist_train.sh configs/esvit/esvit_swin-tiny-w7_16xb64-coslr-150e_webvision.py 16 --amp fp16
"""

_base_ = "esvit_swin-tiny-w7_16xb64-coslr-300e_in1k.py"

train_dataloader = dict(dataset=dict(root="data/webvision/train"))
train_cfg = dict(max_epochs=150)
