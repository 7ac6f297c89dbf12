"""PIC, ResNet-50, multi-crop, 1600 epochs. Published: 70.8 top-1 in linear evaluation.

tools/dist_train.sh configs/pic/pic_resnet50_4xb64-coslr-1600e_in1k.py 4

The authors saw NaN in runs of this length in mixed precision; here the softmax is float32 under `--amp`, and a
loss that is not finite is skipped and reported (FiniteLossHook).
"""

_base_ = "pic_resnet50_4xb64-coslr-200e_in1k.py"

param_scheduler = [
    dict(
        type="WarmupCosineLR", warmup=40, start_ratio=0.01, eta_min=1e-6, convert_to_iter_based=True
    )
]
train_cfg = dict(max_epochs=1600)
