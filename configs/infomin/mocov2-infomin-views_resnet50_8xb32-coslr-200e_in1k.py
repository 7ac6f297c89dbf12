"""MoCo v2 with InfoMin's views instead of its own, without the jigsaw, 200 epochs; no figure is quoted here.

tools/dist_train.sh configs/infomin/mocov2-infomin-views_resnet50_8xb32-coslr-200e_in1k.py 8
"""

_base_ = ["../moco/mocov2_resnet50_8xb32-coslr-200e_in1k.py", "../_base_/views/infomin.py"]

train_dataloader = dict(dataset=dict(views=dict(_delete_=True, **_base_.infomin_two_views)))
