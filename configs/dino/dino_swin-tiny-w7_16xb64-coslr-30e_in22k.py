"""DINO, Swin-T (window 7), 30 epochs on ImageNet-22k: EsViT's view-level task alone (L_V).
Published linear / k-NN on ImageNet-1k: 73.5 / 66.1.

    tools/dist_train.sh configs/dino/dino_swin-tiny-w7_16xb64-coslr-30e_in22k.py 16 --amp fp16

30 is the epoch at which the published model was evaluated; the length of its schedule is not known.
"""

_base_ = "dino_swin-tiny-w7_16xb64-coslr-300e_in1k.py"

train_dataloader = dict(dataset=dict(root="data/imagenet22k/train"))
train_cfg = dict(max_epochs=30)
