"""Every method side by side on Shapes: who takes part, with what budget, and what their articles claim.

    python tools/compare.py configs/benchmarks/comparison/shapes.py
    make claims

A contestant is a leaf config with changes (`options`); `trains=False` measures its network as it starts, `epochs`
multiplies the budget's (2 for one view per image), `samples` names what its recipe has to know of the number of images,
`transfers` says that it is the network of the detector and the segmentor below, `extra` what else is measured of it, and
`slow` that it is left out unless it is named.
"""

data = "data/shapes"
budget = dict(epochs=4, images=4000, labels=100, iters=150, size=64)
detector = "configs/benchmarks/shapes_detection/faster_rcnn_r18_fpn_shapes.py"
segmentor = "configs/benchmarks/shapes_segmentation/fcn_r18_shapes.py"
selection = "configs/hcsc/hcsc_resnet18_1xb32-coslr-4e_shapes.py"


def resnet18(folder, stem=None):
    return dict(config=f"configs/{folder}/{stem or folder}_resnet18_1xb32-coslr-4e_shapes.py")


def swin(folder, epochs):
    path = f"configs/{folder}/{folder}_swin-shapes_1xb32-coslr-{epochs}e_shapes.py"
    return dict(config=path, transfers=False, extra="correspondence")


def fifty(network):
    path = f"configs/cotnet/mocov2_{network}_1xb32-coslr-4e_shapes.py"
    return dict(config=path, transfers=False, slow=True)


def untrained(config, **others):
    return dict(config=config, trains=False, **others)


care = "configs/care/care_resnet18_1xb32-coslr-3e_shapes.py"
byol_stride_16 = "configs/byol/byol_resnet18-d16_1xb32-coslr-4e_shapes.py"
dino = swin("dino", 4)
contestants = {
    "untrained": untrained("configs/benchmarks/shapes_classification/resnet18_shapes.py"),
    # the detector and the segmentor are those of the row above
    "untrained, stride 16": untrained(byol_stride_16, transfers=False),
    "untrained, Swin": untrained(**dino),
    "NPID": dict(
        config="configs/npid/npid_resnet18_1xb32-coslr-8e_shapes.py",
        epochs=2,
        samples="model.num_samples",
    ),
    # with the views and the optimizer that all have here, those of v1 as little as anybody's own
    "MoCo v1": dict(
        resnet18("moco", "mocov2"), options=["model.neck.num_layers=1", "model.temperature=0.07"]
    ),
    "MoCo v2": dict(resnet18("moco", "mocov2"), extra="negatives"),
    "MoCo v3": resnet18("mocov3"),
    "SimCLR": resnet18("simclr"),
    "BYOL": dict(config="configs/byol/byol_resnet18_1xb32-coslr-3e_shapes.py"),
    "SimSiam": resnet18("simsiam"),
    "SwAV": resnet18("swav"),
    "DeepCluster-v2": dict(resnet18("deepclusterv2"), samples="model.num_samples"),
    "Barlow Twins": resnet18("barlow_twins", "barlow-twins"),
    "InfoMin": resnet18("infomin"),
    "CLSA": resnet18("clsa"),
    "CARE, C-stream alone": dict(config=care, options=["model.t_stream=None"]),
    "CARE": dict(config=care),
    "PCL": resnet18("pcl", "pcl-v2"),
    "HCSC": dict(resnet18("hcsc"), extra="negatives"),
    "PIC": dict(
        config="configs/pic/pic_resnet18_1xb32-coslr-8e_shapes.py",
        epochs=2,
        samples="model.head.num_instances",
    ),
    "Exemplar-CNN": dict(
        config="configs/exemplar/exemplar_resnet18_1xb32-coslr-8e_shapes.py",
        epochs=2,
        samples="model.head.num_instances",
    ),
    "DenseCL": resnet18("densecl"),
    "PixContrast": resnet18("pixcontrast"),
    "PixPro": resnet18("pixpro"),
    "BYOL, stride 16": dict(config=byol_stride_16),
    "MoBY, Swin": swin("moby", 3),
    "DINO, Swin": dino,
    "EsViT, Swin": swin("esvit", 4),
    "MoCo v2, ResNet-50": fifty("resnet50"),
    "MoCo v2, CoTNet-50": fifty("cotnet50"),
}
claims = [
    dict(
        text="A Transformer stream makes the convolutional one learn more.",
        source="CARE (arXiv 2110.05340)",
        better=("CARE", "linear"),
        worse=("CARE, C-stream alone", "linear"),
    ),
    dict(
        text="Matching regions restores the correspondence that views alone lose.",
        source="EsViT (arXiv 2106.09785)",
        better=("EsViT, Swin", "correspondence"),
        worse=("DINO, Swin", "correspondence"),
    ),
    dict(
        text="Selection by prototypes removes false negatives more often than true ones.",
        source="HCSC (arXiv 2202.00455)",
        better=("HCSC", "false_removed"),
        worse=("HCSC", "true_removed"),
    ),
    dict(
        text="A pretext task on pixels is better for detection than one on images.",
        source="PixPro (arXiv 2011.10043)",
        better=("PixPro", "detect"),
        worse=("BYOL, stride 16", "detect"),
    ),
    dict(
        text="One branch is as good as two: PIC and MoCo v2, within 3 points.",
        source="PIC (arXiv 2006.14618)",
        better=("PIC", "knn"),
        worse=("MoCo v2", "knn"),
        margin=3.0,
    ),
    dict(
        text="One branch is as good as two: PIC and SimCLR, within 3 points.",
        source="PIC (arXiv 2006.14618)",
        better=("PIC", "knn"),
        worse=("SimCLR", "knn"),
        margin=3.0,
    ),
    dict(
        text="Contextual attention in place of 3x3 convolutions learns more.",
        source="CoTNet (arXiv 2107.12292)",
        better=("MoCo v2, CoTNet-50", "knn"),
        worse=("MoCo v2, ResNet-50", "knn"),
    ),
]
