"""PIC, ResNet-50, one crop of 224 px, 200 epochs: the setting of the article's main text.

tools/dist_train.sh configs/pic/pic_resnet50_4xb64-coslr-200e_in1k_single-crop.py 4

The released model cannot read single crops, so there is no number of theirs to compare with.
"""

_base_ = "pic_resnet50_4xb64-coslr-200e_in1k.py"

train_dataloader = dict(dataset=dict(views=dict(_delete_=True, **_base_.pic_single_views)))
