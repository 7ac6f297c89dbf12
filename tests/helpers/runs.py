"""Configs of tiny training runs, for tests of the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmssl.engine.runner import Runner
from tests.helpers import toy  # noqa: F401  (registers the toy method and its data)

ROOT = Path(__file__).resolve().parents[2]


def toy_config(work_dir: Path, **changes: Any) -> Config:
    """A run of 3 epochs of 6 iterations of `ToyMethod`; dotted keys of `changes` override it."""
    config = Config.fromfile(str(ROOT / "configs/_base_/default_runtime.py"))
    config.merge_from_dict(
        dict(
            model=dict(type="ToyMethod"),
            train_dataloader=dict(
                batch_size=4,
                num_workers=0,
                sampler=dict(type="CounterSampler", shuffle=True),
                collate_fn=dict(type="default_collate"),
                dataset=dict(type="ToyImages", length=22),
            ),
            train_cfg=dict(type="EpochLoop", max_epochs=3),
            optim_wrapper=dict(
                type="OptimWrapper", optimizer=dict(type="SGD", lr=0.1, momentum=0.9)
            ),
            param_scheduler=[
                dict(type="CosineAnnealingLR", T_max=3, by_epoch=True, convert_to_iter_based=True)
            ],
            visualizer=dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")]),
            work_dir=str(work_dir),
            experiment_name=str(work_dir),  # message hubs are global and found by this name
            log_level="WARNING",
        )
    )
    config.merge_from_dict(changes)
    return config


def care_config(work_dir: Path) -> Config:
    """A run of 2 epochs of 4 iterations of CARE on timm's smallest ResNet."""
    return toy_config(
        work_dir,
        model=dict(
            type="CARE",
            _delete_=True,
            backbone=dict(type="TimmBackbone", name="test_resnet", out_indices=(2, 3)),
            t_stream=dict(
                type="AttentionStack",
                in_stage=2,
                fmap_size=8,
                num_blocks=2,
                num_heads=2,
                head_dim=8,
            ),
            projector=dict(hid_channels=32, out_channels=16),
            predictor=dict(hid_channels=32),
        ),
        **{
            "train_dataloader.batch_size": 8,
            "train_dataloader.dataset.length": 32,
            "train_dataloader.dataset.size": 64,
            "train_cfg.max_epochs": 2,
        },
    )


HEAD = dict(out_channels=24, hid_channels=16, bottleneck_channels=8, norm_last_layer=False)
MLP = dict(hid_channels=16, norm_cfg=dict(type="BN1d"))
NECK = dict(type="MLPNeck", hid_channels=16, out_channels=8)
CONV = dict(hid_channels=16, out_channels=8)
METHODS: dict[str, dict[str, Any]] = {
    "barlow_twins": dict(type="BarlowTwins", neck=NECK),
    "clsa": dict(type="CLSA", neck=NECK, queue_length=20),
    "deepcluster_v2": dict(
        type="DeepClusterV2", neck=NECK, num_samples=16, num_prototypes=(6, 5, 6)
    ),
    "densecl": dict(
        type="DenseCL", neck=dict(hid_channels=16, out_channels=8), queue_length=20, max_logits=100
    ),
    "dino": dict(type="DINO", head=HEAD),
    "esvit": dict(type="EsViT", head=HEAD, region_head=HEAD),
    "hcsc": dict(
        type="HCSC",
        neck=NECK,
        prototypes=dict(type="Prototypes", num_clusters=(8, 5, 3)),
        queue_length=20,
    ),
    "infomin": dict(type="InfoMin", neck=NECK, queue_length=20),
    "moby": dict(
        type="MoBY",
        neck=dict(type="MLPNeck", out_channels=8, **MLP),
        head=dict(type="MLPPredictor", **MLP),
        queue_length=20,
    ),
    "moco": dict(type="MoCo", neck=NECK, queue_length=20),
    "moco_v3": dict(type="MoCoV3", neck=NECK, head=dict(type="MLPPredictor", hid_channels=16)),
    "npid": dict(type="NPID", neck=NECK, num_samples=16, num_negatives=8),
    "pcl": dict(
        type="PCL",
        neck=NECK,
        prototypes=dict(type="Prototypes", num_clusters=(9, 8)),
        num_negatives=2,
        queue_length=20,
    ),
    "pic": dict(type="PIC", neck=NECK, head=dict(num_instances=16, num_negatives=5)),
    "pixcontrast": dict(type="PixContrast", neck=CONV),
    "pixpro": dict(
        type="PixPro",
        neck=CONV,
        head=dict(),
        instance_neck=CONV,
        instance_head=dict(hid_channels=16),
    ),
    "simclr": dict(type="SimCLR", neck=dict(type="MLPNeck", out_channels=8, **MLP)),
    "simsiam": dict(
        type="SimSiam", neck=dict(type="MLPNeck", out_channels=8), head=dict(type="MLPPredictor")
    ),
    "swav": dict(
        type="SwAV", neck=NECK, head=dict(num_prototypes=6), queue_length=16, queue_start=1
    ),
}
CROPS = dict.fromkeys(METHODS, (32, 32)) | {
    "clsa": (32, 32, 16),
    "deepcluster_v2": (32, 32, 16, 16),
    "dino": (32, 32, 16, 16, 24),
    "esvit": (32, 32, 16, 16, 24),
    "hcsc": (32, 32, 24, 16),
    "infomin": (32, 32, 48),
    "npid": (32,),
    "pic": (32, 16, 24),
    "swav": (32, 32, 16, 16),
}
"""Sizes of the views of each method."""


def method_config(work_dir: Path, method: str, **changes: Any) -> Config:
    """A run of 3 epochs of 4 iterations of a method on a small Swin, with the parts of its recipe."""
    backbone = dict(
        type="Swin",
        embed_dims=8,
        depths=(2, 2),
        num_heads=(1, 2),
        window_size=4,
        pretrain_img_size=32,
        drop_path_rate=0.2,
        out_indices=(1,),
    )
    model = dict(METHODS[method], backbone=backbone, _delete_=True)
    hooks = []
    if method in ("hcsc", "pcl"):
        view = dict(num=1, transforms=[dict(type="CenterCrop", size=32)])
        hooks = [
            dict(type="ClusterHook", views=dict(type="MultiView", views=[view]), begin_epoch=1)
        ]
    if method == "deepcluster_v2":
        hooks = [dict(type="MemoryClusterHook")]
    if method in ("dino", "esvit"):
        heads = ["head"] + ["region_head"] * (method == "esvit")
        hooks = [dict(type="FreezeHook", modules=[f"{name}.last_layer" for name in heads])]
    if method == "swav":
        hooks = [dict(type="FreezeHook", modules=["head"], iters=3)]
    optimizer = dict(type="AdamW", lr=1e-3, weight_decay=0.04)
    if method == "pic":
        hooks = [dict(type="InstanceRowsHook")]
        optimizer = dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=0.04)
    config = toy_config(
        work_dir,
        model=model,
        custom_hooks=hooks,
        optim_wrapper=dict(
            type="OptimWrapper",
            optimizer=dict(optimizer, _delete_=True),
            constructor="ParamGroupConstructor",
            paramwise_cfg=dict(no_decay=("bias", "norm", "vector")),
            clip_grad=dict(type="per_tensor", max_norm=3.0),
        ),
        param_scheduler=[
            dict(type="WarmupCosineLR", warmup=1, peak_twice=True, convert_to_iter_based=True),
            dict(
                type="WarmupCosineLR",
                param_name="weight_decay",
                eta_min=0.4,
                convert_to_iter_based=True,
            ),
        ],
        **{
            "train_dataloader.dataset": dict(
                type="ToyImages", length=16, sizes=list(CROPS[method])
            ),
        },
    )
    config.merge_from_dict(changes)
    return config


def run_toy(work_dir: Path, **changes: Any) -> Runner:
    """Build and train `toy_config`; the runner afterwards."""
    runner = Runner.from_cfg(toy_config(work_dir, **changes))
    runner.train()
    return runner
