"""SwAV, ResNet-50, 2 x 224 + 6 x 96 px, 200 epochs on four GPUs. Published: 72.7 top-1 in linear evaluation.

    tools/dist_train.sh configs/swav/swav_resnet50_4xb64-mcrop-2-6-coslr-200e_in1k.py 4 --amp fp16

Batches of 256 are few beside 3000 prototypes: from epoch 15 on 3840 earlier embeddings help to balance them.
"""

_base_ = "swav_resnet50_64xb64-mcrop-2-6-coslr-200e_in1k.py"

model = dict(queue_length=3840, queue_start=15)
optim_wrapper = dict(optimizer=dict(lr=0.6))
# a list replaces that of the base: no warm-up here
param_scheduler = [dict(type="WarmupCosineLR", eta_min_ratio=0.001, convert_to_iter_based=True)]
custom_hooks = [dict(type="FreezeHook", modules=["head"], iters=5005)]
auto_scale_lr = dict(base_batch_size=256)
