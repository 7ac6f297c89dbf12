"""SimSiam's linear classification on ImageNet-1k: LARC lr 1.6 at batch 4096, 90 epochs, cosine per epoch.

SimSiam (arXiv 2011.10566; official code: apex's LARC without clipping around SGD). Published top-1, ResNet-50:
68.1 / 70.0 / 70.8 / 71.3 (100 / 200 / 400 / 800 epochs).

    tools/dist_train.sh configs/benchmarks/imagenet_linear/resnet50_simsiam_8xb512-coslr-90e_in1k.py 8 \
        --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/run/epoch_100.pth
"""

_base_ = "resnet50_mocov3_8xb128-coslr-90e_in1k.py"

train_dataloader = dict(batch_size=512)
optim_wrapper = dict(
    optimizer=dict(
        _delete_=True,
        type="LARS",
        lr=1.6,  # 0.1 x batch / 256
        momentum=0.9,
        weight_decay=0.0,
        norm_of_sum=False,
        zero_norm="gradient",
    )
)
default_hooks = dict(best_epoch=dict(protocol="linear-simsiam"))
auto_scale_lr = dict(base_batch_size=4096)
