"""MoBY's linear probe of a Swin-T: final pooled feature, SGD, batch 512, 100 epochs, cosine.

    python tools/test.py configs/benchmarks/imagenet_linear/swin-t_moby_in1k.py CHECKPOINT --linear

Published, online network, 300 epochs: 75.0 (75.3 in the model zoo; the best epoch's, `best_epoch_top1` here).
Their solver: SGD with Nesterov momentum 0.9, 1.0 x batch / 512, 5 epochs of warm-up, label smoothing
0.1, gradients clipped at 5.0. Deviations: the frozen backbone is in eval mode (theirs drops paths at a
rate of 0.2 while the classifier learns) and in single precision (theirs in mixed); features of 8 epochs
of random crops are cached and used in turn (`evaluation.crop_epochs=100` draws new ones in each); the
learning rate grows from 0 and ends at 0 (5e-7 and 5e-6 x batch / 512 there), a step earlier.
DeiT-S: `--cfg-options model.backbone.type=VisionTransformer model.backbone.norm_eps=1e-6`.
"""

_base_ = ["../imagenet_knn/resnet50_knn_in1k.py"]

model = dict(backbone=dict(_delete_=True, type="Swin", norm_eps=1e-5))
evaluation = dict(
    protocol="linear-moby",
    linear=dict(
        lrs=[0.5],  # for a batch of 256
        epochs=100,
        batch_size=512,
        warmup_epochs=5,
        nesterov=True,
        label_smoothing=0.1,
        max_grad_norm=5.0,
    ),
    crop_epochs=8,
    crop_views=dict(
        type="MultiView",
        boxes=None,
        views=[
            dict(
                num=1,
                transforms=[
                    dict(type="RandomResizedCrop", size=224, interpolation="bilinear"),
                    dict(type="HorizontalFlip"),
                ],
            ),
        ],
    ),
)
