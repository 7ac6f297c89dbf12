"""Linear SVMs on VOC07 as PCL and HCSC report them, with 1 to 16 images per class too: C .5.

    python tools/test.py configs/benchmarks/voc07_classification/resnet50_svm_pcl_voc07.py CHECKPOINT --svm

Trained on trainval (5011 images), mAP on test (4952), area under the envelope; objects marked difficult count as
absent. Published (PCL, 200 epochs) for 1, 2, 4, 8, 16 images per class and for all: v1 46.9, 56.4, 62.8, 70.2, 74.3,
82.3; v2 47.9, 59.6, 66.2, 74.5, 78.3, 85.4. Low-shot figures are means of 5 draws of images, ours from a seed.
"""

_base_ = ["../../_base_/views/eval.py"]

default_scope = "mmssl"
model = dict(backbone=dict(type="ResNet", depth=50, out_indices=(3,)))
evaluation = dict(
    protocol="svm-pcl",
    methods=["svm"],
    svm=dict(protocol="pcl", low_shot=[1, 2, 4, 8, 16], runs=5),
    train_dataset=dict(
        type="VOCClassification",
        root="data/VOCdevkit/VOC2007",
        split="trainval",
        max_bad_ratio=0.0,
        views=_base_.eval_views,
    ),
    val_dataset=dict(
        type="VOCClassification",
        root="data/VOCdevkit/VOC2007",
        split="test",
        max_bad_ratio=0.0,
        views=_base_.eval_views,
    ),
    batch_size=64,
    num_workers=8,
)
