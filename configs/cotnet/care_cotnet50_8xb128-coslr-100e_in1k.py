"""CARE with CoTNet-50 for ResNet-50, 100 epochs on ImageNet-1k; nobody has published a figure of it.

    tools/dist_train.sh configs/cotnet/care_cotnet50_8xb128-coslr-100e_in1k.py 8 --amp bf16

8 GPUs x 128 images. All else is CARE's recipe of ResNet-50. A CoT layer keeps four to five times the activations
of a 3x3 convolution: where they do not fit, --cfg-options model.backbone.with_cp=True computes them twice.
"""

_base_ = "../care/care_resnet50_8xb128-coslr-100e_in1k.py"

model = dict(
    backbone=dict(
        _delete_=True, type="CoTNet", arch="50", out_indices=(2, 3), norm_cfg=dict(type="SyncBN")
    )
)
