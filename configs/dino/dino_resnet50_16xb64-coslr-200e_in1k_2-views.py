"""DINO, ResNet-50, 200 epochs, two views: DenseCL's setting. Published linear / k-NN: 69.2 / 59.9, COCO box / mask AP 37.8 / 33.1.

    tools/dist_train.sh configs/dino/dino_resnet50_16xb64-coslr-200e_in1k_2-views.py 16 --amp fp16

Scale of the crops as advised without small ones; batch and the rest as for 300 epochs (not published).
"""

_base_ = "dino_resnet50_16xb64-coslr-300e_in1k.py"

train_dataloader = dict(dataset=dict(views=dict(_delete_=True, **_base_.dino_two_views)))
train_cfg = dict(max_epochs=200)
