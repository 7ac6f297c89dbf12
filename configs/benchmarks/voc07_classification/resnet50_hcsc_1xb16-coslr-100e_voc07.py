"""HCSC's VOC07 classification with a trained classifier: parameters frozen, BatchNorm in train mode.

HCSC (arXiv 2202.00455; its `voc_cls` code). Trained on VOC07 train with a sum of binary cross-entropies; the best epoch on
VOC07 val is tested on VOC07 test with five crops. Not comparable with the linear SVM (`resnet50_svm_*`): the
backbone's running statistics move, and their "mAP" is the mean over images (`multi_label/image_mAP`, which decides
here); the mean over classes is `multi_label/mAP`.

    python tools/train.py configs/benchmarks/voc07_classification/resnet50_hcsc_1xb16-coslr-100e_voc07.py \
        --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/run/epoch_200.pth

The cosine swings with a half period of 12 epochs and is one epoch ahead, as the code steps it. The published
figures could not be checked.
"""

_base_ = [
    "../_base_/linear_resnet50.py",
    "../_base_/voc07_data.py",
    "../_base_/classifier_runtime.py",
    "../../_base_/schedules/sgd_epoch_cosine.py",
]

model = dict(
    train_norms=True,
    multi_label=True,
    reduction="sum",
    head=dict(num_classes=20),
    data_preprocessor=_base_.data_preprocessor,
)
train_dataloader = dict(batch_size=16)
optim_wrapper = dict(optimizer=dict(lr=0.05, weight_decay=0.0))
param_scheduler = [dict(type="CosineCyclesLR", period=12, shift=1, restart=False)]
train_cfg = dict(max_epochs=100)
default_hooks = dict(
    best_epoch=dict(metric="multi_label/image_mAP", protocol="voc07-hcsc"),
    checkpoint=dict(save_best="multi_label/image_mAP"),
    test_best=dict(type="TestBestHook"),
)
custom_hooks = [dict(type="FrozenCheckHook", buffers=False)]
