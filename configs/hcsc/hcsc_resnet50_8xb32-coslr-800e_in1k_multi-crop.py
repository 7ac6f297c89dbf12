"""HCSC, ResNet-50, multi-crop, 800 epochs, prototypes from epoch 80 on.

Published: 74.2 top-1 in linear evaluation, 70.6 k-NN.

    tools/dist_train.sh configs/hcsc/hcsc_resnet50_8xb32-coslr-800e_in1k_multi-crop.py 8
"""

_base_ = "hcsc_resnet50_8xb32-coslr-200e_in1k_multi-crop.py"

train_cfg = dict(max_epochs=800)
custom_hooks = [
    dict(type="ClusterHook", views=_base_.eval_views, begin_epoch=80, batch_size=160, num_workers=8)
]
