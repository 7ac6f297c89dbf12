"""The recipes of EsViT and DINO: every leaf builds, with the numbers of the specification."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmssl.engine.config import load_config
from mmssl.engine.optimizers import ParamGroupConstructor
from mmssl.engine.schedulers import WarmupCosineLR
from mmssl.registry import MODELS

pytestmark = pytest.mark.parity

CONFIGS = Path(__file__).parents[2] / "configs"
LEAVES = sorted(
    path
    for method in ("esvit", "dino")
    for path in (CONFIGS / method).glob("*.py")
    if "shapes" not in path.name
)
leaves = pytest.mark.parametrize("path", LEAVES, ids=lambda path: path.stem)
# Millions of parameters of the backbones (table of the specification), by a part of the name.
MILLIONS = {
    "swin-tiny-w7": 27.52, "swin-tiny-w14": 27.57, "swin-small-w7": 48.84, "swin-small-w14": 48.97,
    "swin-base-w7": 86.74, "swin-base-w14": 86.92, "vil": 27.57, "cvt": 29.30, "resnet50": 23.51,
    "vit-small-p16": 21.67, "deit-small-p16": 21.67,
}  # fmt: skip
DROP = {
    "swin-tiny": 0.1,
    "swin-small": 0.2,
    "swin-base": 0.2,
    "vil": 0.1,
    "cvt": 0.1,
    "vit-small": 0.1,
    "deit-small": 0.1,
}
# The 8 x 64 recipe of ResNet-50 is DINO's own, with SGD and constant decay.
OWN = "dino_resnet50_8xb64-coslr-100e_in1k"


@cache
def config_of(path: Path) -> Config:
    return load_config(path)


@cache
def built(path: Path):
    with torch.device("meta"):
        return MODELS.build(config_of(path).model)


def total_batch(path: Path) -> int:
    gpus, batch = re.search(r"_(\d+)xb(\d+)-", path.stem).groups()
    return int(gpus) * int(batch)


@leaves
def test_values_networks(path: Path) -> None:
    config = config_of(path)
    model = built(path)
    kind = next(kind for kind in MILLIONS if kind in path.stem)
    count = sum(parameter.numel() for parameter in model.backbone.parameters()) / 1e6
    assert count == pytest.approx(MILLIONS[kind], abs=0.006)
    assert type(model).__name__.lower() == path.parent.name
    # As in the official program, wherever there is BatchNorm: its statistics are those of all GPUs.
    norms = [m for m in model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    assert bool(norms) == any(kind in path.stem for kind in ("resnet", "cvt"))
    assert all(isinstance(norm, torch.nn.SyncBatchNorm) for norm in norms)
    heads = [model.head] + ([model.region_head] if path.parent.name == "esvit" else [])
    assert all(head.out_channels == 65536 for head in heads)
    if config.model.get("region_loss") == "mse":
        heads.pop()  # its last layer takes no part
    free = [head.last_layer.weight_g.requires_grad for head in heads]
    length_one = ("base-w14_64xb8-coslr-300e_in1k_continued", "vit-small-p16_8xb64", OWN)
    assert free == [not any(part in path.stem for part in length_one)] * len(heads)


@leaves
def test_values_training(path: Path) -> None:
    config = config_of(path)
    batch = total_batch(path)
    name = re.search(r"coslr-(\d+)e", path.stem)
    assert config.train_cfg.max_epochs == int(name[1])
    assert config.train_dataloader.batch_size == int(re.search(r"xb(\d+)", path.stem)[1])
    optimizer = config.optim_wrapper.optimizer
    if path.stem == OWN:
        assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ("SGD", 0.06, 1e-4)
        assert len(config.param_scheduler) == 1
        return
    assert (optimizer.type, optimizer.betas, optimizer.eps) == ("AdamW", (0.9, 0.999), 1e-8)
    assert optimizer.lr == pytest.approx(5e-4 * batch / 256)
    assert config.optim_wrapper.clip_grad == dict(type="per_tensor", max_norm=3.0)
    for kind, rate in DROP.items():
        if kind in path.stem:
            assert config.model.backbone.get("drop_path_rate") == rate
    warm, decay = config.param_scheduler
    assert (warm.warmup, warm.eta_min, warm.peak_twice) == (10, 1e-6, True)
    assert (decay.param_name, optimizer.weight_decay, decay.eta_min) == ("weight_decay", 0.04, 0.4)
    views = [view["num"] for view in config.train_dataloader.dataset.views["views"]]
    assert views == ([1, 1] if "2-views" in path.stem else [1, 1, 8])


@leaves
def test_values_hooks_find_their_partners(path: Path) -> None:
    """Modules that rest for an epoch exist and are all of their kind; a continuation finds its file."""
    config = config_of(path)
    names = {name for name, _ in built(path).named_modules() if not name.startswith("twin.")}
    hooks = {hook["type"]: hook for hook in config.custom_hooks}
    resting = {name for name in names if name.endswith("last_layer")}
    if config.model.get("region_loss") == "mse":
        resting.discard("region_head.last_layer")
    assert set(hooks["FreezeHook"]["modules"]) == resting
    assert ("ContinuationHook" in hooks) == path.stem.endswith("_continued")
    if "ContinuationHook" not in hooks:
        return
    checkpoint = Path(hooks["ContinuationHook"]["checkpoint"])
    parent = CONFIGS / "dino" / f"{checkpoint.parent.name}.py"
    before = config_of(parent)
    epoch = int(re.fullmatch(r"epoch_(\d+)\.pth", checkpoint.name)[1])
    saving = before.default_hooks.checkpoint
    assert epoch % saving.interval == 0 and saving.max_keep_ckpts == -1
    assert before.model.backbone == config.model.backbone
    assert before.train_cfg == config.train_cfg


@pytest.mark.parametrize(
    "leaf",
    [
        "esvit/esvit_swin-tiny-w7_16xb32-coslr-300e_in1k.py",
        "esvit/esvit_resnet50_16xb64-coslr-300e_in1k.py",
        "esvit/esvit_vil_16xb64-coslr-300e_in1k.py",
        "esvit/esvit_cvt_16xb64-coslr-300e_in1k.py",
        "dino/dino_vit-small-p16_16xb64-coslr-300e_in1k.py",
    ],
)
def test_values_decay_of_a_recipe(leaf: str) -> None:
    """Tables of positions and lengths of prototypes decay, vectors and biases do not; one group each."""
    path = CONFIGS / leaf
    config, model = config_of(path), built(path)
    wrapper = ParamGroupConstructor(
        dict(type="OptimWrapper", optimizer=config.optim_wrapper.optimizer.to_dict()),
        config.optim_wrapper.paramwise_cfg.to_dict(),
    )(model)
    groups = {
        g["weight_decay"]: {id(p) for p in g["params"]} for g in wrapper.optimizer.param_groups
    }
    assert sorted(groups) == [0.0, 0.04]
    for name, parameter in model.named_parameters():
        if not name.startswith("twin.") and parameter.requires_grad:
            vector = name.endswith(".bias") or parameter.ndim == 1
            assert id(parameter) in groups[0.0 if vector else 0.04], name
    scheduler = WarmupCosineLR.build_iter_from_epoch(
        wrapper, param_name="weight_decay", eta_min=0.4, end=300, epoch_length=2502
    )
    scheduler.jump_to(300 * 2502 - 1)
    values = sorted(group["weight_decay"] for group in wrapper.optimizer.param_groups)
    assert values == pytest.approx([0.0, 0.4])
