"""CARE, ResNet-50, on a folder of your own images, with one GPU; labels are not needed.

    python tools/train.py configs/care/care_resnet50_1xb64-coslr-200e_folder.py \\
        --cfg-options train_dataloader.dataset.root=FOLDER

The recipe of the 100-epoch leaf on one GPU: 64 images of 224 px per step, bfloat16, learning rate
0.05 x batch / 256. Nothing is published for it. What counts is the number of steps: with fewer than
some 10,000 images take more epochs (train_cfg.max_epochs=800). Another batch size: add
--auto-scale-lr. Less memory: a smaller batch with --accumulate, or
--activation-checkpointing backbone.layer1 backbone.layer2.
"""

_base_ = "care_resnet50_8xb128-coslr-100e_in1k.py"

train_dataloader = dict(batch_size=64, dataset=dict(root="data/images"))
optim_wrapper = dict(type="BFloat16OptimWrapper", optimizer=dict(lr=0.0125))
train_cfg = dict(max_epochs=200)
auto_scale_lr = dict(base_batch_size=64)
