"""VOC07+12 Faster R-CNN R50-C4, 24k iterations, from a self-supervised ResNet-50 (MoCo's protocol).

CARE, 200 / 400 epochs (its readme): AP 57.7 / 57.9, AP50 83.0 / 83.0, AP75 64.5 / 64.7; random
initialisation in MoCo's paper: 33.8 / 60.2 / 33.1.

    tools/dist_train.sh configs/benchmarks/voc_detection/faster-rcnn_r50-c4_8xb2-24k_voc0712.py 8 \
        --cfg-options load_from=backbone.pth

8 GPUs x 2 images. In the log, mAP is AP (IoU .5 to .95), beside AP50 and AP75. Deviations from
detectron2: see ../README.md.
"""

_base_ = [
    "mmdet::pascal_voc/faster-rcnn_r50-caffe-c4_ms-18k_voc0712.py",
    "../_base_/transfer_mmdet.py",
    "../_base_/finetuned_resnet.py",
    "../_base_/extra_norm_res5.py",
]

load_from = "REQUIRED"
model = dict(
    data_preprocessor=_base_.rgb_preprocessor,
    backbone=_base_.finetuned_resnet,
    roi_head=dict(shared_head=_base_.extra_norm_res5),
)
train_dataloader = dict(
    dataset=dict(
        ignore_keys=["dataset_type"],
        datasets=[
            dict(
                type="mmssl.VOCDetection",
                difficult="use",
                data_root=_base_.data_root,
                ann_file="VOC2007/ImageSets/Main/trainval.txt",
                data_prefix=dict(sub_data_root="VOC2007/"),
                filter_cfg=dict(filter_empty_gt=True, min_size=32),
                pipeline=_base_.train_pipeline,
            ),
            dict(
                type="mmssl.VOCDetection",
                difficult="use",
                data_root=_base_.data_root,
                ann_file="VOC2012/ImageSets/Main/trainval.txt",
                data_prefix=dict(sub_data_root="VOC2012/"),
                filter_cfg=dict(filter_empty_gt=True, min_size=32),
                pipeline=_base_.train_pipeline,
            ),
        ],
    )
)
train_cfg = dict(max_iters=24000)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=100),
    dict(
        type="MultiStepLR", begin=0, end=24000, by_epoch=False, milestones=[18000, 22000], gamma=0.1
    ),
]
optim_wrapper = dict(paramwise_cfg=dict(norm_decay_mult=0.0))
val_evaluator = dict(iou_thrs=[0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95])
test_evaluator = val_evaluator
