"""SE-CoTNetD-152 trained with labels on ImageNet-1k at 256 px: CoTNet's advanced setup, 350 epochs.

CoTNet (arXiv 2107.12292; JDAI-CV/CoTNet), published top-1 / top-5: 84.0 / 97.0. Their table says 224 px, but its
17.0 GFLOPs are those of 256 px, which the code trains and tests with.

    tools/dist_train.sh configs/cotnet/se-cotnetd152_8xb64-coslr-350e_in1k-256px.py 8
"""

_base_ = "cotnet50_8xb80-coslr-350e_in1k.py"

model = dict(backbone=dict(arch="d152", drop_path_rate=0.15))
train_dataloader = dict(batch_size=64, dataset=dict(views=_base_.rand_augment_256))
val_dataloader = dict(dataset=dict(views=_base_.centre_256))
optim_wrapper = dict(optimizer=dict(lr=0.2))
auto_scale_lr = dict(base_batch_size=512)
