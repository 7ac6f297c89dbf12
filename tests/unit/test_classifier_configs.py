"""Leaves of the evaluation protocols that train a classifier: they build, and say what they mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from mmssl.convert.pretrained_backbone import PretrainedBackbone, check_checkpoint
from mmssl.engine.config import load_config
from mmssl.models.algorithms import ImageClassifier
from mmssl.registry import HOOKS, METRICS, MODELS, OPTIM_WRAPPER_CONSTRUCTORS, TRANSFORMS

BENCHMARKS = Path(__file__).resolve().parents[2] / "configs/benchmarks"
LEAVES = sorted(
    path
    for pattern in ("*/resnet*.py", "*/vit*.py")
    for path in BENCHMARKS.glob(pattern)
    if load_config(path).get("model", {}).get("type") == "ImageClassifier"
)


@pytest.fixture(autouse=True)
def _scope() -> None:
    init_default_scope("mmssl")


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("leaf", LEAVES, ids=name_of)
def test_values_leaf_builds(leaf: Path, tmp_path: Path) -> None:
    """Dumps and reads again; builds model, views, metric, hooks and optimizer; batch as in its name."""
    config = load_config(leaf)
    config.dump(str(tmp_path / "flat.py"))
    assert Config.fromfile(str(tmp_path / "flat.py")).to_dict() == config.to_dict()
    with torch.device("meta"):
        model = MODELS.build(config.model)
    assert isinstance(model, ImageClassifier)
    assert config.model.backbone.init_cfg.checkpoint == "REQUIRED"
    for loader in (config.train_dataloader, config.val_dataloader):
        views = TRANSFORMS.build(loader.dataset.views)
        assert len(views) == 1
    METRICS.build(config.val_evaluator)
    hooks = [hook for hook in config.default_hooks.values() if hook is not None]
    assert all(HOOKS.build(hook) for hook in hooks + config.get("custom_hooks", []))
    wrapper = dict(config.optim_wrapper)
    build = OPTIM_WRAPPER_CONSTRUCTORS.get(wrapper.pop("constructor"))
    groups = build(wrapper, wrapper.pop("paramwise_cfg", None))(model).param_groups
    trained = {id(p) for group in groups for p in group["params"] if p.ndim}
    assert trained == {id(p) for p in model.parameters() if p.requires_grad}
    gpus, batch = (
        next(part for part in leaf.stem.split("_") if "xb" in part).split("-")[0].split("xb")
    )
    assert config.train_dataloader.batch_size == int(batch)
    if int(gpus) > 1:
        assert config.auto_scale_lr.base_batch_size == int(gpus) * int(batch)
    epochs = next(part for part in leaf.stem.split("-") if part.split("_")[0][-1:] == "e")
    assert config.train_cfg.max_epochs == int(epochs.split("_")[0][:-1])
    best = config.default_hooks.best_epoch
    assert best.protocol and best.metric == config.default_hooks.checkpoint.save_best


def test_values_protocols_have_names_of_their_own() -> None:
    names = [load_config(leaf).default_hooks.best_epoch.protocol for leaf in LEAVES]
    assert len(names) == len(set(names)) >= 19


@pytest.mark.parametrize("leaf", LEAVES, ids=name_of)
def test_values_what_is_frozen(leaf: Path) -> None:
    """Every run with a frozen backbone checks that; HCSC's VOC07 without the running statistics."""
    config = load_config(leaf)
    checks = [hook for hook in config.get("custom_hooks", []) if hook.type == "FrozenCheckHook"]
    assert config.model.frozen == bool(checks)
    if checks:
        assert checks[0].get("buffers", True) != config.model.get("train_norms", False)
    else:
        plain = "barlowtwins" in leaf.stem
        assert config.model.backbone.norm_cfg.type == ("BN" if plain else "SyncBN")


def options(leaf: str) -> dict[str, Any]:
    return load_config(BENCHMARKS / f"{leaf}.py").optim_wrapper.optimizer.to_dict()


def test_values_solvers() -> None:
    """The table of protocols: optimizer, learning rate, weight decay."""
    for leaf, expected in {
        "resnet50_moco_8xb32-steplr-100e_in1k": dict(type="SGD", lr=30.0, weight_decay=0.0),
        "resnet50_hcsc_8xb32-steplr-100e_in1k": dict(type="SGD", lr=5.0, weight_decay=0.0),
        "resnet50_swav_8xb32-coslr-100e_in1k": dict(type="SGD", lr=0.3, weight_decay=1e-6),
        "resnet50_barlowtwins_8xb32-coslr-100e_in1k": dict(type="SGD", lr=0.3, weight_decay=1e-6),
        "resnet50_mocov3_8xb128-coslr-90e_in1k": dict(type="SGD", lr=0.4, weight_decay=0.0),
        "resnet50_simsiam_8xb512-coslr-90e_in1k": dict(
            type="LARS", lr=1.6, weight_decay=0.0, norm_of_sum=False, zero_norm="gradient"
        ),
        "resnet50_mmpretrain_8xb512-coslr-90e_in1k": dict(
            type="LARS",
            lr=1.6,
            weight_decay=0.0,
            norm_of_sum=False,
            zero_norm="unit",
            lr_in_momentum=True,
        ),
    }.items():
        assert options(f"imagenet_linear/{leaf}") == dict(expected, momentum=0.9)
    vit = options("imagenet_linear/vit-small_mocov3_8xb128-coslr-90e_in1k")
    assert vit == dict(type="SGD", lr=12.0, momentum=0.9, weight_decay=0.0)
    vissl = options("places205_linear/resnet50_vissl_8xb32-steplr-28e_places205")
    assert vissl == dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=5e-4, nesterov=True)


@pytest.mark.parametrize(
    ("leaf", "norm", "affine", "decay"),
    [("vissl", nn.BatchNorm1d, True, 5e-4), ("mmpretrain", nn.SyncBatchNorm, False, 1e-4)],
)
def test_values_places205_norm_of_the_features(leaf, norm, affine, decay) -> None:
    """Before the classifier, and without weight decay."""
    config = load_config(
        BENCHMARKS / f"places205_linear/resnet50_{leaf}_8xb32-steplr-28e_places205.py"
    )
    with torch.device("meta"):
        model = MODELS.build(config.model)
    head = model.head
    assert type(head.input_norm) is norm and head.input_norm.num_features == 2048
    assert head.input_norm.affine == affine and isinstance(head.norm, nn.Identity)
    wrapper = dict(config.optim_wrapper)
    build = OPTIM_WRAPPER_CONSTRUCTORS.get(wrapper.pop("constructor"))
    groups = build(wrapper, wrapper.pop("paramwise_cfg"))(model).param_groups
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert {decays[id(p)] for p in head.input_norm.parameters()} == ({0.0} if affine else set())
    assert {decays[id(p)] for p in head.fc.parameters()} == {decay}


def test_values_vit_of_mocov3() -> None:
    """Twelve blocks with twelve heads; the feature is the class token."""
    config = load_config(BENCHMARKS / "imagenet_linear/vit-small_mocov3_8xb128-coslr-90e_in1k.py")
    with torch.device("meta"):
        model = MODELS.build(config.model)
    assert len(model.backbone.blocks) == 12 and model.head.fc.in_features == 384
    assert model.backbone.blocks[0].attn.num_heads == 12
    assert model.backbone.out_indices == (11,)


def test_values_voc07_normalisation() -> None:
    """Mean and deviation of the official code, in pixel units; five crops in the test."""
    config = load_config(
        BENCHMARKS / "voc07_classification/resnet50_hcsc_1xb16-coslr-100e_voc07.py"
    )
    preprocessor = MODELS.build(config.model.data_preprocessor)
    expected = torch.tensor([[0.4573, 0.4388, 0.4073], [0.2675, 0.2638, 0.2777]])
    found = torch.stack([preprocessor.mean.flatten(), preprocessor.std.flatten()]) / 255
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
    assert len(TRANSFORMS.build(config.test_dataloader.dataset.views)) == 5


def test_raises_without_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none was given. Name a checkpoint"):
        PretrainedBackbone("REQUIRED")(torch.nn.Linear(1, 1))
    with pytest.raises(FileNotFoundError, match=r"absent\.pth of model\.backbone does not exist"):
        check_checkpoint(str(tmp_path / "absent.pth"))
    check_checkpoint("torchvision://resnet50")
