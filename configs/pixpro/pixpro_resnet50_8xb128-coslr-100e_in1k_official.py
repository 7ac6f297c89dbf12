"""PixPro, ResNet-50, 100 epochs, with the momentum of the released code to the last digit.

tools/dist_train.sh configs/pixpro/pixpro_resnet50_8xb128-coslr-100e_in1k_official.py 8 --amp fp16

Its schedule is as long as int(1281167 images / 8 GPUs / 128 * 100 epochs), 13 steps more than the run has, for
the last, incomplete batch of every epoch is left out. Change `length` with epochs, images and batch.
"""

_base_ = "pixpro_resnet50_8xb128-coslr-100e_in1k.py"

model = dict(momentum=dict(length=125113))
