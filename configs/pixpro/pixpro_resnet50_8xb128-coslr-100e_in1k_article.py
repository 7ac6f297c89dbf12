"""PixPro, ResNet-50, 100 epochs, as the article words it where the released code differs.

tools/dist_train.sh configs/pixpro/pixpro_resnet50_8xb128-coslr-100e_in1k_article.py 8 --amp fp16

2048 hidden channels, values of the propagation as they are, distances in pixels of the image, half the loss
(which LARS cancels but for weight decay and one-dimensional parameters).
"""

_base_ = "pixpro_resnet50_8xb128-coslr-100e_in1k.py"

model = dict(neck=dict(hid_channels=2048), head=dict(normalize_value=False), loss_scale=1.0)
train_dataloader = dict(dataset=dict(views=dict(boxes="pixel")))
