"""DeepCluster-v2, ResNet-50, 2 x 160 + 4 x 96 px, 400 epochs with batches of 4096. Published: 74.3 top-1, linear.

NNODES=8 NODE_RANK=0 MASTER_ADDR=node0 tools/dist_train.sh configs/deepclusterv2/deepclusterv2_resnet50_64xb64-mcrop-2-4-coslr-400e_in1k-160px.py 8
"""

_base_ = "deepclusterv2_resnet50_64xb64-mcrop-2-6-coslr-800e_in1k.py"

train_dataloader = dict(dataset=dict(views=dict(_delete_=True, **_base_.deepcluster_views)))
train_cfg = dict(max_epochs=400)
