"""MoCo v2 with CoTNet-50 for ResNet-50, 200 epochs on ImageNet-1k; nobody has published a figure of it.

    tools/dist_train.sh configs/cotnet/mocov2_cotnet50_8xb32-coslr-200e_in1k.py 8

8 GPUs x 32 images. All else is MoCo's recipe of ResNet-50. The norms of the fusions see the images of their process
too, and so does what leaks through them: shuffling covers every norm of the backbone.
"""

_base_ = "../moco/mocov2_resnet50_8xb32-coslr-200e_in1k.py"

model = dict(backbone=dict(_delete_=True, type="CoTNet", arch="50", out_indices=(3,)))
