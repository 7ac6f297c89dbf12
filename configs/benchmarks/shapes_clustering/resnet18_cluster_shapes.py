"""Clusters of the single objects of Shapes against their family, species and variety.

    python tools/test.py configs/benchmarks/shapes_clustering/resnet18_cluster_shapes.py CHECKPOINT --cluster

Flat clusterings into as many groups as each level has, and a tree of 24, 12 and 4.
"""

_base_ = ["../shapes_classification/resnet18_shapes.py"]

evaluation = dict(
    protocol="shapes-cluster",
    methods=["cluster"],
    cluster=dict(split="val", num_clusters=[24, 12, 4], tree=[24, 12, 4], hierarchy="shapes"),
)
