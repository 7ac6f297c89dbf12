"""HCSC's Places205 protocol, small: images by a list, strong augmentation, warm restarts, on Shapes, two CPU cores.

    python tools/train.py configs/benchmarks/shapes_classification/resnet18_places_1xb64-sgdr-10e_shapes.py \
        --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/run/epoch_4.pth

The classifier learns on the list `unlabelled.csv`, whose labels pretraining does not look at. VISSL's and MMSelfSup's norm of
the features: `model.head.input_norm_cfg.type=BN optim_wrapper.paramwise_cfg.no_decay=[norm]`.
"""

_base_ = [
    "../_base_/linear_resnet50.py",
    "../_base_/shapes_classifier_data.py",
    "../_base_/classifier_runtime.py",
    "../../_base_/schedules/sgd_epoch_cosine.py",
]

model = dict(backbone=dict(depth=18, zero_init_residual=True), head=dict(num_classes=24))
train_dataloader = dict(
    batch_size=64,
    dataset=dict(
        _delete_=True,
        type="ImageList",
        file="data/shapes/unlabelled.csv",
        views=dict(
            type="MultiView",
            boxes=None,
            views=[
                dict(
                    num=1,
                    transforms=[
                        dict(type="Resize", size=[72, 72]),
                        dict(type="RandomCrop", size=64),
                        dict(
                            type="ColorJitter",
                            brightness=0.4,
                            contrast=0.4,
                            saturation=0.4,
                            hue=0.1,
                            prob=0.8,
                        ),
                        dict(type="RandomGrayscale", prob=0.2),
                        dict(type="GaussianBlur", sigma=(0.1, 2.0), prob=0.5),
                        dict(type="HorizontalFlip", prob=0.5),
                    ],
                )
            ],
        ),
    ),
)
optim_wrapper = dict(optimizer=dict(lr=0.3, weight_decay=0.0))
param_scheduler = [dict(type="CosineCyclesLR", period=5, shift=-1, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=10)
default_hooks = dict(best_epoch=dict(protocol="shapes-places"))
