"""PIC, ResNet-50, multi-crop, 400 epochs. Published: 70.3 top-1 in linear evaluation.

tools/dist_train.sh configs/pic/pic_resnet50_4xb64-coslr-400e_in1k.py 4
"""

_base_ = "pic_resnet50_4xb64-coslr-200e_in1k.py"

param_scheduler = [
    dict(
        type="WarmupCosineLR", warmup=10, start_ratio=0.01, eta_min=1e-6, convert_to_iter_based=True
    )
]
train_cfg = dict(max_epochs=400)
