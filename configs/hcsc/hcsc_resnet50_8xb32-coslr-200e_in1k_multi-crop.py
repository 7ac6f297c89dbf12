"""HCSC, ResNet-50, two views of 224 px and crops of 192, 160, 128, 96, 200 epochs.

Published: 73.3 top-1 in linear evaluation, 66.6 k-NN.

    tools/dist_train.sh configs/hcsc/hcsc_resnet50_8xb32-coslr-200e_in1k_multi-crop.py 8
"""

_base_ = "hcsc_resnet50_8xb32-coslr-200e_in1k.py"

train_dataloader = dict(dataset=dict(views=dict(_delete_=True, **_base_.hcsc_multi_crop_views)))
