"""SwAV, ResNet-50, 2 x 224 + 6 x 96 px, 400 epochs with batches of 4096. Published: 74.6 top-1 in linear evaluation.

NNODES=8 NODE_RANK=0 MASTER_ADDR=node0 tools/dist_train.sh configs/swav/swav_resnet50_64xb64-mcrop-2-6-coslr-400e_in1k.py 8 --amp fp16
"""

_base_ = "swav_resnet50_64xb64-mcrop-2-6-coslr-200e_in1k.py"

train_cfg = dict(max_epochs=400)
