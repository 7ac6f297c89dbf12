"""CLSA, ResNet-50, five weak and five strong views, 200 epochs. Published: 73.3 top-1 in linear evaluation.

tools/dist_train.sh configs/clsa/clsa_resnet50_8xb32-mcrop-5-5-coslr-200e_in1k.py 8
"""

_base_ = "clsa_resnet50_8xb32-coslr-200e_in1k.py"

model = dict(num_weak_views=5)
train_dataloader = dict(dataset=dict(views=dict(_delete_=True, **_base_.clsa_multi_crop_views)))
