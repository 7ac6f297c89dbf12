"""One row per method: a tiny model whose every property can be tested in a moment."""

from __future__ import annotations

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from mmssl.models.algorithms import (
    BYOL,
    CARE,
    CLSA,
    DINO,
    HCSC,
    NPID,
    PCL,
    PIC,
    BarlowTwins,
    BaseAlgorithm,
    DeepClusterV2,
    DenseCL,
    EsViT,
    InfoMin,
    MoBY,
    MoCo,
    MoCoV3,
    PixContrast,
    PixPro,
    SimCLR,
    SimSiam,
    SwAV,
)
from mmssl.models.memories import InstanceRows
from mmssl.ops.spherical_kmeans import SphericalClusters
from mmssl.structures import Clustering, Progress, ViewBatch

NORM = dict(type="BN1d")


class TinyBackbone(BaseModule):
    """Four stages of one convolution each; the stages of `out_indices` are returned.

    Args:
        out_indices: Stages whose maps are returned.
        norm: Put a BatchNorm behind each convolution.
    """

    def __init__(self, out_indices: tuple[int, ...] = (2, 3), norm: bool = True) -> None:
        super().__init__()
        self.out_indices = out_indices
        channels = [3, 4, 4, 8, 16]
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels[i], channels[i + 1], 3, stride=2, padding=1, bias=not norm),
                nn.BatchNorm2d(channels[i + 1]) if norm else nn.Identity(),
                nn.ReLU(),
            )
            for i in range(4)
        )
        self.out_channels = [channels[i + 1] for i in out_indices]
        self.strides = [2 ** (i + 1) for i in out_indices]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Maps of the stages of `out_indices`."""
        maps, x = [], images
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in self.out_indices:
                maps.append(x)
        return tuple(maps)


def tiny_stack(**options) -> dict:
    """An AttentionStack for the 4x4 map that TinyBackbone makes of 32 px at stage 2."""
    return dict(type="AttentionStack", fmap_size=4, num_blocks=2, num_heads=2, head_dim=4) | options


def tiny_care(**options) -> CARE:
    """CARE on a TinyBackbone; `options` replace arguments."""
    arguments = dict(
        backbone=TinyBackbone(),
        t_stream=tiny_stack(),
        projector=dict(hid_channels=16, out_channels=8, norm_cfg=NORM),
        predictor=dict(hid_channels=16, norm_cfg=NORM),
    )
    return CARE(**(arguments | options))


def tiny_byol(**options) -> BYOL:
    """BYOL on a TinyBackbone; `options` replace arguments."""
    arguments = dict(
        backbone=TinyBackbone((3,)),
        neck=dict(type="MLPNeck", hid_channels=16, out_channels=8, last_bias=False, norm_cfg=NORM),
        head=dict(type="MLPPredictor", hid_channels=16, last_bias=False, norm_cfg=NORM),
    )
    return BYOL(**(arguments | options))


def tiny_moby(**options) -> MoBY:
    """MoBY on a TinyBackbone; `options` replace arguments."""
    arguments = dict(
        backbone=TinyBackbone((3,)),
        neck=dict(type="MLPNeck", hid_channels=16, out_channels=8, norm_cfg=NORM),
        head=dict(type="MLPPredictor", hid_channels=16, norm_cfg=NORM),
        queue_length=10,
    )
    return MoBY(**(arguments | options))


TINY_HEAD = dict(out_channels=12, hid_channels=16, bottleneck_channels=8)


def tiny_dino(**options) -> DINO:
    """DINO on a TinyBackbone; `options` replace arguments."""
    arguments = dict(backbone=TinyBackbone((3,)), head=dict(TINY_HEAD, norm_last_layer=False))
    return DINO(**(arguments | options))


def tiny_esvit(**options) -> EsViT:
    """EsViT on a TinyBackbone (2x2 regions of 32 px); `options` replace arguments."""
    arguments = dict(
        backbone=TinyBackbone((3,)),
        head=dict(TINY_HEAD, norm_last_layer=False),
        region_head=dict(TINY_HEAD, use_bn=True, norm_last_layer=False),
    )
    return EsViT(**(arguments | options))


def tiny_moco(**options) -> MoCo:
    """MoCo v2 on a TinyBackbone; `options` replace arguments."""
    arguments = dict(
        backbone=TinyBackbone((3,)),
        neck=dict(type="MLPNeck", hid_channels=16, out_channels=8),
        queue_length=10,
    )
    return MoCo(**(arguments | options))


def tiny_densecl(**options) -> DenseCL:
    """DenseCL on a TinyBackbone (2x2 cells of 32 px); `options` replace arguments."""
    arguments = dict(
        backbone=TinyBackbone((3,)),
        neck=dict(type="DenseCLNeck", hid_channels=16, out_channels=8),
        queue_length=10,
    )
    return DenseCL(**(arguments | options))


def tiny_pixpro(**options) -> PixPro:
    """PixPro on a TinyBackbone (2x2 cells of 32 px); `options` replace arguments."""
    arguments = dict(
        backbone=TinyBackbone((3,)),
        neck=dict(hid_channels=16, out_channels=8),
        head=dict(),
    )
    return PixPro(**(arguments | options))


class TinyPyramid(BaseModule):
    """Two maps of 4 channels, of the last stage and of the one before, as a detector's pyramid."""

    def __init__(self, in_channels: tuple[int, int] = (8, 16)) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(channels, 4, 1) for channels in in_channels)
        self.out_channels = [4, 4]

    def forward(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Maps of both levels."""
        return tuple(conv(x) for conv, x in zip(self.laterals, maps, strict=True))


def tiny_pixcontrast(**options) -> PixContrast:
    """PixContrast on a TinyBackbone (2x2 cells of 32 px); `options` replace arguments."""
    arguments = dict(backbone=TinyBackbone((3,)), neck=dict(hid_channels=16, out_channels=8))
    return PixContrast(**(arguments | options))


def tiny_npid(**options) -> NPID:
    """NPID on a TinyBackbone and 12 images; `options` replace arguments."""
    arguments = dict(
        backbone=TinyBackbone((3,)),
        neck=dict(type="MLPNeck", out_channels=8, num_layers=1),
        num_samples=12,
        num_negatives=6,
    )
    return NPID(**(arguments | options))


def tiny_pic(**options) -> PIC:
    """PIC on a TinyBackbone and 12 images; `options` replace arguments of the head."""
    return PIC(
        TinyBackbone((3,)),
        dict(type="MLPNeck", hid_channels=16, out_channels=8),
        dict(num_instances=12) | options,
    )


def tiny_clustering(
    counts: tuple[int, ...] = (6, 4, 2), *, dim: int = 8, images: int = 12, tree: bool = True
) -> Clustering:
    """Random prototypes of `images` images, every one of them used."""
    generator = torch.Generator().manual_seed(0)
    centroids = [F.normalize(torch.randn(m, dim, generator=generator), dim=1) for m in counts]
    density = [0.15 + 0.1 * torch.rand(m, generator=generator) for m in counts]
    parents = [torch.arange(m) % above for m, above in zip(counts, counts[1:], strict=False)]
    rows = [torch.arange(images) % m for m in (counts[:1] if tree else counts)]
    return Clustering(
        centroids, density, parents if tree else [], torch.stack(rows).int(), [1.0] * len(counts)
    )


def tiny_pcl(*, clustered: bool = True, **options) -> PCL:
    """PCL on a TinyBackbone with random prototypes of 12 images; `options` replace arguments."""
    arguments = dict(
        backbone=TinyBackbone((3,)),
        neck=dict(type="MLPNeck", hid_channels=16, out_channels=8),
        prototypes=dict(type="Prototypes", num_clusters=(9, 10)),
        num_negatives=3,
        queue_length=10,
    )
    model = PCL(**(arguments | options))
    if clustered:
        model.load_prototypes(tiny_clustering((9, 10), tree=False), epoch=0)
    return model


def tiny_hcsc(*, clustered: bool = True, **options) -> HCSC:
    """HCSC on a TinyBackbone with random prototypes of 12 images; `options` replace arguments."""
    arguments = dict(
        backbone=TinyBackbone((3,)),
        neck=dict(type="MLPNeck", hid_channels=16, out_channels=8),
        prototypes=dict(type="Prototypes", num_clusters=(6, 4, 2)),
        queue_length=10,
    )
    model = HCSC(**(arguments | options))
    if clustered:
        model.load_prototypes(tiny_clustering(), epoch=0)
    return model


def tiny_clusters(number: int, *, dim: int = 8, images: int = 12) -> SphericalClusters:
    """Random directions, and image i in cluster i mod `number`."""
    generator = torch.Generator().manual_seed(number)
    centroids = F.normalize(torch.randn(number, dim, generator=generator), dim=1)
    assignment = torch.arange(images, dtype=torch.int32) % number
    return SphericalClusters(centroids, assignment, assignment.bincount(), 0.0)


def tiny_deepcluster_v2(*, clustered: bool = True, **options) -> DeepClusterV2:
    """DeepCluster-v2 on a TinyBackbone with random clusters of 12 images; `options` replace arguments."""
    arguments = dict(
        backbone=TinyBackbone((3,)),
        neck=dict(type="MLPNeck", out_channels=8),
        num_samples=12,
        num_prototypes=(5, 4, 5),
    )
    model = DeepClusterV2(**(arguments | options))
    if clustered:
        model.load_clusters([tiny_clusters(number) for number in model.num_prototypes], epoch=0)
    return model


def tiny_simclr(**options) -> SimCLR:
    """SimCLR on a TinyBackbone; `options` replace arguments."""
    arguments = dict(
        backbone=TinyBackbone((3,)),
        neck=dict(
            type="MLPNeck",
            out_channels=8,
            bias=False,
            last_bias=False,
            norm_cfg=NORM,
            last_norm_cfg=dict(NORM, bias=False),
        ),
    )
    return SimCLR(**(arguments | options))


def tiny_simsiam(**options) -> SimSiam:
    """SimSiam on a TinyBackbone; `options` replace arguments."""
    arguments = dict(
        backbone=TinyBackbone((3,)),
        neck=dict(type="MLPNeck", out_channels=8),
        head=dict(type="MLPPredictor"),
    )
    return SimSiam(**(arguments | options))


def tiny_barlow_twins(**options) -> BarlowTwins:
    """Barlow Twins on a TinyBackbone; `options` replace arguments."""
    arguments = dict(
        backbone=TinyBackbone((3,)), neck=dict(type="MLPNeck", hid_channels=16, out_channels=8)
    )
    return BarlowTwins(**(arguments | options))


def tiny_moco_v3(**options) -> MoCoV3:
    """MoCo v3 on a TinyBackbone; `options` replace arguments."""
    arguments = dict(
        backbone=TinyBackbone((3,)),
        neck=dict(type="MLPNeck", hid_channels=16, out_channels=8),
        head=dict(type="MLPPredictor", hid_channels=16),
    )
    return MoCoV3(**(arguments | options))


def tiny_swav(**options) -> SwAV:
    """SwAV on a TinyBackbone; `options` replace arguments."""
    arguments = dict(
        backbone=TinyBackbone((3,)),
        neck=dict(type="MLPNeck", out_channels=8),
        head=dict(num_prototypes=5),
    )
    return SwAV(**(arguments | options))


def tiny_clsa(**options) -> CLSA:
    """CLSA on a TinyBackbone; `options` replace arguments."""
    arguments = dict(
        backbone=TinyBackbone((3,)),
        neck=dict(type="MLPNeck", hid_channels=16, out_channels=8),
        queue_length=10,
    )
    return CLSA(**(arguments | options))


def tiny_infomin(**options) -> InfoMin:
    """InfoMin on a TinyBackbone; `options` replace arguments."""
    arguments = dict(
        backbone=TinyBackbone((3,)),
        neck=dict(type="MLPNeck", hid_channels=16, out_channels=8),
        queue_length=10,
    )
    return InfoMin(**(arguments | options))


TINY = {
    "barlow_twins": tiny_barlow_twins,
    "byol": tiny_byol,
    "care": tiny_care,
    "care_absolute": lambda: tiny_care(t_stream=tiny_stack(pos_enc="absolute")),
    "care_c_stream": lambda: tiny_care(t_stream=None),
    "clsa": tiny_clsa,
    "deepcluster_v2": tiny_deepcluster_v2,
    "densecl": tiny_densecl,
    "dino": tiny_dino,
    "esvit": tiny_esvit,
    # rows of the usual size would give gradients that float32 cannot add to some weights in a step
    "exemplar": lambda: tiny_pic(cosine=False, temperature=1.0, init_std=0.1),
    "hcsc": tiny_hcsc,
    "hcsc_warm_up": lambda: tiny_hcsc(clustered=False),
    "infomin": tiny_infomin,
    "moby": tiny_moby,
    "moco": tiny_moco,
    "moco_v3": tiny_moco_v3,
    "npid": tiny_npid,
    "npid_bank": lambda: tiny_npid(num_negatives=None),
    "npid_nce": lambda: tiny_npid(criterion="nce"),
    "pcl": tiny_pcl,
    "pic": tiny_pic,
    "pic_sampled": lambda: tiny_pic(num_negatives=3),
    "pixcontrast": tiny_pixcontrast,
    "pixpro": tiny_pixpro,
    "pixpro_instance": lambda: tiny_pixpro(
        instance_neck=dict(hid_channels=16, out_channels=8), instance_head=dict(hid_channels=16)
    ),
    "pixpro_pyramid": lambda: tiny_pixpro(
        backbone=TinyBackbone(),
        pyramid=TinyPyramid(),
        head=dict(num_layers=2),
        instance_neck=dict(hid_channels=16, out_channels=8),
        instance_loss="simclr_star",
    ),
    "simclr": tiny_simclr,
    "simsiam": tiny_simsiam,
    "swav": tiny_swav,
    "swav_queue": lambda: tiny_swav(queue_length=8, queue_start=0),
}

MULTI_CROP = {"deepcluster_v2", "dino", "esvit", "hcsc", "hcsc_warm_up", "swav", "swav_queue"}
"""Methods that take two views or more."""
ONE_VIEW = {"npid", "npid_bank", "npid_nce"}
"""Methods that take one view."""
ANY_VIEWS = {"exemplar", "pic", "pic_sampled"}
"""Methods that take any number of views."""
THREE_VIEWS = {"clsa": "at least one strong view", "infomin": "a grid of patches per image"}
"""Methods that take three views, and what they say to two."""
NO_TWIN = (
    ONE_VIEW
    | ANY_VIEWS
    | {"barlow_twins", "deepcluster_v2", "simclr", "simsiam", "swav", "swav_queue"}
)
FROZEN = {
    "deepcluster_v2": {f"heads.{head}.prototypes.weight" for head in range(3)},
    "simsiam": {"neck.layers.6.bias"},
}
"""Parameters of the online networks that a method never trains."""


def tiny_model(name: str, seed: int = 0) -> BaseAlgorithm:
    """The tiny model of a row, initialised from `seed`, ready for `mode='loss'`."""
    torch.manual_seed(seed)
    model = TINY[name]()
    model.init_weights()
    model.progress = Progress(0, 10, 0, 1)
    return model.train()


def tiny_views(seed: int = 0, size: int = 4, pixels: int = 32, num: int = 2) -> ViewBatch:
    """`num` views of `size` random images, with the boxes of half-sized crops that overlap."""
    generator = torch.Generator().manual_seed(seed)
    images = [torch.randn(size, 3, pixels, pixels, generator=generator) for _ in range(num)]
    corners = [torch.rand(size, 2, generator=generator) / 2 for _ in range(num)]
    return ViewBatch(
        images,
        torch.arange(size),
        [torch.cat([corner, corner + 0.5], dim=1) for corner in corners],
        torch.full((size,), -1),
        [],
    )


def total_loss(losses: dict[str, Tensor]) -> Tensor:
    """The sum that mmengine minimises."""
    return sum(value for name, value in losses.items() if "loss" in name)


def own_views(model: BaseAlgorithm, seed: int = 0, size: int = 4) -> ViewBatch:
    """As many views as the method takes."""
    if isinstance(model, InfoMin):
        views = tiny_views(seed, size)
        # 3 x 3 patches of half a view's side
        side = 3 * views.images[0].shape[-1] // 2
        puzzle = tiny_views(seed + 1, size, pixels=side, num=1).images
        return views._replace(images=views.images + puzzle)
    return tiny_views(seed, size, num={NPID: 1, CLSA: 3}.get(type(model), 2))


def train_step(model: BaseAlgorithm, optimizer: torch.optim.Optimizer, step: int) -> float:
    """One step, with the random numbers and the twin update of a run; returns the loss."""
    torch.manual_seed(step)  # as StepSeedHook
    if step and model.twin is not None and model.twin.update_at == "before_forward":
        model.twin.update(model, step, 10)
    loss = total_loss(model(own_views(model, step), mode="loss"))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    step_rows(model, optimizer)
    if model.twin is not None and model.twin.update_at == "after_step":
        model.twin.update(model, step, 10)
    return loss.item()


def step_rows(model: BaseAlgorithm, optimizer: torch.optim.Optimizer) -> None:
    """What `InstanceRowsHook` does behind an optimizer's step."""
    group = optimizer.param_groups[0]
    for part in model.modules():
        if isinstance(part, InstanceRows):
            part.step(group["lr"], momentum=group["momentum"], weight_decay=group["weight_decay"])


def sgd(model: BaseAlgorithm) -> torch.optim.Optimizer:
    """SGD on the trainable parameters."""
    online = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.SGD(online, lr=0.05, momentum=0.9)
