"""HCSC as its article reads: removed negatives leave the softmax, every other prototype is a negative, means over levels.

    tools/dist_train.sh configs/hcsc/hcsc_resnet50_8xb32-coslr-200e_in1k_article.py 8

No figure was published for this setting: the published checkpoints come from the released code.
"""

_base_ = "hcsc_resnet50_8xb32-coslr-200e_in1k.py"

model = dict(mask_mode="exclude", instance_reduction="mean", skip_last=False)
