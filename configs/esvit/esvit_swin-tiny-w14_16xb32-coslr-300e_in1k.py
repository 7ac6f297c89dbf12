"""EsViT, Swin-T (window 14), 300 epochs, both tasks from the start. Published linear / k-NN: 78.7 / 77.0.

    tools/dist_train.sh configs/esvit/esvit_swin-tiny-w14_16xb32-coslr-300e_in1k.py 16 --amp fp16

The published model is continued from the view-level task at epoch 200: `..._continued.py`.
"""

_base_ = "esvit_swin-tiny-w7_16xb32-coslr-300e_in1k.py"

model = dict(backbone=dict(window_size=14))
