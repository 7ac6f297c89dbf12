"""DeepCluster-v2, ResNet-50, 2 x 224 + 6 x 96 px, 800 epochs with batches of 4096. Published: 75.2 top-1, linear.

Unsupervised Learning of Visual Features by Contrasting Cluster Assignments (arXiv 2006.09882).

    NNODES=8 NODE_RANK=0 MASTER_ADDR=node0 tools/dist_train.sh configs/deepclusterv2/deepclusterv2_resnet50_64xb64-mcrop-2-6-coslr-800e_in1k.py 8 --amp fp16

64 GPUs x 64 images. `model.num_samples` is the number of training images. Views, optimizer and schedule are
SwAV's. Deviations: README.md of this folder.
"""

_base_ = "../swav/swav_resnet50_64xb64-mcrop-2-6-coslr-800e_in1k.py"

model = dict(
    _delete_=True,
    type="DeepClusterV2",
    backbone=_base_.model.backbone,
    neck=_base_.model.neck,
    num_samples=1281167,
    num_prototypes=(3000, 3000, 3000),
    num_banks=2,
    temperature=0.1,
    data_preprocessor=_base_.model.data_preprocessor,
)
custom_hooks = [dict(type="MemoryClusterHook", iterations=10)]
