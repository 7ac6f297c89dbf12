"""PIC, ResNet-50, multi-crop, 200 epochs, as the released program runs: its window does not slide.

tools/dist_train.sh configs/pic/pic_resnet50_4xb64-coslr-200e_in1k_official.py 4

Seven windows of eight are a fresh random tenth of the images, the eighth repeats the one before. Whether the
published checkpoints were trained with this revision of the program is not known. `train_dataloader.sampler.mode=mod` is the same code as it was meant.
"""

_base_ = "pic_resnet50_4xb64-coslr-200e_in1k.py"

train_dataloader = dict(sampler=dict(mode="released"))
