"""CARE's linear probe: BatchNorm behind the classifier, SGD lr .2 (batch 256), 80 epochs, cosine.

    python tools/test.py configs/benchmarks/imagenet_linear/resnet50_care_in1k.py CHECKPOINT --linear

Published for the release: the best epoch's top-1 (`best_epoch_top1` here); the last one's is reported
beside it. Deviation: features of 8 epochs of random crops are cached and used in turn (80 in the
release; `evaluation.crop_epochs=80` reproduces it, 10 GB of features per epoch).
"""

_base_ = ["../imagenet_knn/resnet50_knn_in1k.py"]

evaluation = dict(
    protocol="linear-care",
    linear=dict(lrs=[0.2], epochs=80, batch_size=256, batch_norm=True),
    crop_epochs=8,
    crop_views=dict(
        type="MultiView",
        boxes=None,
        views=[
            dict(
                num=1,
                transforms=[
                    dict(type="RandomResizedCrop", size=224),
                    dict(type="HorizontalFlip"),
                ],
            ),
        ],
    ),
)
