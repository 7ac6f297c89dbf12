"""EsViT's linear probe of a Swin-T: the last four blocks, SGD, batch 1024, 100 epochs, cosine.

    python tools/test.py configs/benchmarks/imagenet_linear/swin-t_esvit_in1k.py CHECKPOINT --linear

Published, Swin-T W7, 300 epochs: 78.1 (view and region loss), 77.0 (view loss only). The learning rate
(for a batch of 256) is tuned per network there; here it is the best of the sweep on a tenth of the
training images (`evaluation.linear.select_on=val` chooses as they do). Deviations: features of 8 epochs
of random crops are cached and used in turn (100 in the release; `evaluation.crop_epochs=100`), and the
cosine goes down per iteration, not per epoch.
"""

_base_ = ["../imagenet_knn/swin-t_knn_in1k.py"]

evaluation = dict(
    protocol="linear-esvit",
    last_blocks=4,
    linear=dict(lrs=[1e-3, 3e-3, 1e-2, 3e-2], epochs=100, batch_size=1024),
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
