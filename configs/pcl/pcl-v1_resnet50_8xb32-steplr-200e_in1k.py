"""PCL v1, ResNet-50, 200 epochs: one linear layer as neck, MoCo v1's views and steps. Published: 61.5 top-1, linear.

tools/dist_train.sh configs/pcl/pcl-v1_resnet50_8xb32-steplr-200e_in1k.py 8
"""

_base_ = ["pcl-v2_resnet50_8xb32-coslr-200e_in1k.py", "../_base_/views/mocov1.py"]

model = dict(neck=dict(_delete_=True, type="MLPNeck", num_layers=1, out_channels=128))
train_dataloader = dict(dataset=dict(views=dict(_delete_=True, **_base_.mocov1_views)))
param_scheduler = [dict(type="MultiStepLR", by_epoch=True, milestones=[120, 160], gamma=0.1)]
