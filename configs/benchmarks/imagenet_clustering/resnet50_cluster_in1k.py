"""K-means of ImageNet-1k's validation images against the classes: NMI, AMI, ARI, purity, best matching.

    python tools/test.py configs/benchmarks/imagenet_clustering/resnet50_cluster_in1k.py CHECKPOINT --cluster

HCSC's protocol, as far as it is known (their script was never published): pooled features of unit length, bicubic
resize, 1000 clusters, 20 iterations, the best of 5 starts. PCL reports the AMI of the training images in 25000
clusters of the momentum encoder's features; of its backbone here (they take those behind the head):

    python tools/test.py configs/benchmarks/imagenet_clustering/resnet50_cluster_in1k.py CHECKPOINT --cluster \
        --num-clusters 25000 --branch twin --cfg-options evaluation.cluster.split=train

A tree of clusters against a tree of the classes: `evaluation.cluster.tree=[3000,2000,1000]` and
`evaluation.cluster.hierarchy=FILE.json`, which says to which group each class folder belongs on every level
(docs/evaluation.md). Published AMI could not be checked and is not quoted.
"""

_base_ = ["../imagenet_knn/resnet50_knn_hcsc_in1k.py"]

evaluation = dict(
    protocol="cluster-hcsc",
    methods=["cluster"],
    cluster=dict(split="val", num_clusters=[1000]),
)
