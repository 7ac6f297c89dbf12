"""DINO, ResNet-50, 300 epochs, batch 1024, by EsViT's recipe (L_V). Published linear / k-NN: 75.0 / 69.3.

tools/dist_train.sh configs/dino/dino_resnet50_16xb64-coslr-300e_in1k.py 16 --amp fp16
"""

_base_ = "dino_swin-tiny-w7_16xb32-coslr-300e_in1k.py"

model = dict(
    backbone=dict(
        _delete_=True, type="ResNet", depth=50, out_indices=(3,), norm_cfg=dict(type="SyncBN")
    ),
)
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
auto_scale_lr = dict(base_batch_size=1024)
