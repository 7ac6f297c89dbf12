"""NPID with noise-contrastive estimation and 4096 negatives: the article. Published: 54.0 top-1, linear.

tools/dist_train.sh configs/npid/npid_resnet50_nce_4xb64-steplr-200e_in1k.py 4
"""

_base_ = "npid_resnet50_4xb64-steplr-200e_in1k.py"

model = dict(criterion="nce", num_negatives=4096)
