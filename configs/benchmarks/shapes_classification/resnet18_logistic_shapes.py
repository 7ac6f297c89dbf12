"""Logistic regression on features of the single-object crops of Shapes (64 px): the protocol of small data sets.

python tools/test.py configs/benchmarks/shapes_classification/resnet18_logistic_shapes.py CHECKPOINT --logistic
"""

_base_ = "./resnet18_shapes.py"

evaluation = dict(
    protocol="shapes-logistic", methods=["logistic"], logistic=dict(metric="mean_per_class")
)
