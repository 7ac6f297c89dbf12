"""HCSC's and PCL's linear classification on ImageNet-1k: MoCo's with lr 5.

HCSC (arXiv 2202.00455; official code). Published top-1, ResNet-50: HCSC 69.2 / 71.0 / 72.0 (200 / 400 / 800
epochs), with small crops 73.3 / 74.1 / 74.2; PCL v1 61.5, v2 67.6 (200 epochs).

    tools/dist_train.sh configs/benchmarks/imagenet_linear/resnet50_hcsc_8xb32-steplr-100e_in1k.py 8 \
        --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/run/epoch_200.pth

The online network's backbone is evaluated, as officially. Deviation: images are counted exactly; the official
code averages batches of a shuffled and padded set.
"""

_base_ = "resnet50_moco_8xb32-steplr-100e_in1k.py"

optim_wrapper = dict(optimizer=dict(lr=5.0))
default_hooks = dict(best_epoch=dict(protocol="linear-hcsc"))
