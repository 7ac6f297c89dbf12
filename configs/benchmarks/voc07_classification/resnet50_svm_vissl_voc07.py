"""Linear SVMs on VOC07 as VISSL runs them: costs from .01 to 1000, chosen per class by cross-validation.

    python tools/test.py configs/benchmarks/voc07_classification/resnet50_svm_vissl_voc07.py CHECKPOINT --svm

Images are brought to a square of 224 px without a crop; objects marked difficult do not count in the test. Up to a
point from PCL's protocol: compare figures of one protocol only. The older grid of FAIR and MMSelfSup:
`--cfg-options evaluation.svm.protocol=fair`.
"""

_base_ = ["./resnet50_svm_pcl_voc07.py"]

square_views = dict(
    type="MultiView",
    boxes=None,
    views=[
        dict(
            num=1, transforms=[dict(type="Resize", size=256), dict(type="Resize", size=[224, 224])]
        ),
    ],
)
evaluation = dict(
    protocol="svm-vissl",
    svm=dict(protocol="vissl", low_shot=[1, 2, 4, 8, 16, 32, 64, 96], jobs=8),
    train_dataset=dict(views=dict(_delete_=True, **square_views)),
    val_dataset=dict(views=dict(_delete_=True, **square_views)),
)
