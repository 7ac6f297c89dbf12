"""ADE20K UPerNet CoTNet-50, 160k iterations: mmseg's recipe of ResNet-50 with another backbone.

    tools/dist_train.sh configs/benchmarks/ade20k_segmentation/upernet_cotnet50_4xb4-160k_ade20k-512x512.py 4 \
        --cfg-options load_from=backbone.pth

4 GPUs x 4 images, every stage trained. No published figure.
"""

_base_ = [
    "mmseg::upernet/upernet_r50_4xb4-160k_ade20k-512x512.py",
    "../_base_/transfer_mmseg.py",
    "../_base_/finetuned_cotnet.py",
]

load_from = "REQUIRED"
auto_scale_lr = dict(enable=False, base_batch_size=16)
model = dict(pretrained=None, backbone=dict(_base_.finetuned_cotnet, frozen_stages=-1))
