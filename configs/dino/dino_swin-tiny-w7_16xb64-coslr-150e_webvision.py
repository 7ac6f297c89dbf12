"""DINO, Swin-T (window 7), 150 epochs on WebVision v1: EsViT's view-level task alone (L_V).
Published linear / k-NN on ImageNet-1k: 75.4 / 69.4.

    tools/dist_train.sh configs/dino/dino_swin-tiny-w7_16xb64-coslr-150e_webvision.py 16 --amp fp16
"""

_base_ = "dino_swin-tiny-w7_16xb64-coslr-300e_in1k.py"

train_dataloader = dict(dataset=dict(root="data/webvision/train"))
train_cfg = dict(max_epochs=150)
