"""SimSiam, ResNet-50, 100 epochs with half the batch. Published: 68.3 top-1 in linear evaluation.

tools/dist_train.sh configs/simsiam/simsiam_resnet50_8xb32-coslr-100e_in1k.py 8
"""

_base_ = "simsiam_resnet50_8xb64-coslr-100e_in1k.py"

train_dataloader = dict(batch_size=32)
optim_wrapper = dict(optimizer=dict(lr=0.05))
auto_scale_lr = dict(base_batch_size=256)
