"""EsViT, Swin-S (window 7), 300 epochs, both tasks from the start. Published linear / k-NN: 79.5 / 77.7.

tools/dist_train.sh configs/esvit/esvit_swin-small-w7_16xb32-coslr-300e_in1k.py 16 --amp fp16
"""

_base_ = "esvit_swin-tiny-w7_16xb32-coslr-300e_in1k.py"

model = dict(backbone=dict(depths=(2, 2, 18, 2), drop_path_rate=0.2))
