"""Evaluation of a pretrained backbone on labelled images, and of detectors and segmentors."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from torch import nn

from mmssl import __version__
from mmssl.convert.checkpoint_file import file_sha256, load_weights_file, local_file
from mmssl.convert.known_colours import Colours, colour_fault, known_colours
from mmssl.convert.load_algorithm import carried_config
from mmssl.convert.load_backbone import load_backbone
from mmssl.convert.weights_record import weights_record
from mmssl.evaluation.feature_protocols import OPTIONS, FeatureProtocols, Method, parts_needed
from mmssl.evaluation.json_record import json_text, plain
from mmssl.evaluation.labelled_sets import LabelledSets
from mmssl.evaluation.plan_checks import check_images, check_options
from mmssl.evaluation.provenance import provenance
from mmssl.evaluation.rng import preserved_rng
from mmssl.ops.atomic_file import write_text_atomically
from mmssl.registry import MODELS, SCOPE, TRANSFORMS, build_module

DOWNSTREAM_SCOPES = ("mmdet", "mmseg")

DEFAULT_EVALUATION: dict[str, Any] = dict(
    protocol="mmssl-features",
    methods=["knn", "linear"],
    knn=dict(k=[10, 20, 100, 200], temperature=0.07),
    linear=dict(normalize="standardize"),
    logistic=dict(),
    svm=dict(protocol="pcl"),
    cluster=dict(split="val"),
)
_PLAN_KEYS = {
    "train_dataset", "val_dataset", "methods", *OPTIONS, "crop_views", "crop_epochs", "stage",
    "last_blocks", "patch_mean", "batch_size", "num_workers", "protocol",
}  # fmt: skip


def center_views(size: int = 224, interpolation: str = "bilinear") -> dict[str, Any]:
    """Config of the field's evaluation view: shorter side to size * 256 / 224, central crop.

    Example:
        >>> center_views(96)['views'][0]['transforms'][0]['size']
        110
    """
    resize = dict(type="Resize", size=round(size * 256 / 224), interpolation=interpolation)
    crop = dict(type="CenterCrop", size=size)
    return dict(type="MultiView", boxes=None, views=[dict(num=1, transforms=[resize, crop])])


def evaluation_plan(
    config: Config,
    *,
    methods: Sequence[Method] | None = None,
    train: str | None = None,
    val: str | None = None,
    size: int | None = None,
    k: Sequence[int] | None = None,
    last_blocks: int | None = None,
    low_shot: Sequence[int] | None = None,
    num_clusters: Sequence[int] | None = None,
) -> dict[str, Any]:
    """What a config's `evaluation` says, completed and overridden.

    Args:
        config: A config; `evaluation` may hold `train_dataset`, `val_dataset`, `methods`, the options of
            each (`knn`, `linear`, `logistic`, `svm`, `cluster`), `crop_views`, `crop_epochs`, `stage`,
            `last_blocks` and `patch_mean` (of the linear probe only), `batch_size`, `num_workers` and
            `protocol`.
        methods: What is evaluated, instead of the config's.
        train: A folder with one folder per class, instead of the config's training images.
        val: The same for the images that are classified.
        size: Side of the evaluation crop for these folders; default 224.
        k: Numbers of neighbours, instead of the config's.
        last_blocks: Blocks that the linear probe looks at, instead of the config's.
        low_shot: Numbers of images per class that SVMs are trained on too, instead of the config's.
        num_clusters: Numbers of clusters, instead of the config's.

    Raises:
        ValueError: Neither the config nor the arguments name a set that is needed, an unknown method, a
            key that nothing reads, or a value that its protocol does not take.
    """
    plan = {**DEFAULT_EVALUATION, **config.get("evaluation", {})}
    _refuse_others("evaluation", plan, _PLAN_KEYS)
    for name, options in OPTIONS.items():
        _refuse_others(f"evaluation.{name}", plan[name], options)
    if methods is not None:
        plan["methods"] = list(methods)
    _refuse_others("evaluation.methods", dict.fromkeys(plan["methods"]), set(OPTIONS))
    needed = set().union(*(parts_needed(method, plan) for method in plan["methods"]))
    for key, folder in (("train_dataset", train), ("val_dataset", val)):
        if folder is not None:
            views = plan.get(key, {}).get("views")
            if views is None or size is not None:
                views = center_views(size or 224)
            plan[key] = dict(type="ImageFolder", root=folder, labels=True, views=views)
            if key == "val_dataset":
                plan[key]["max_bad_ratio"] = 0.0  # accuracy is a share of all images
        elif key not in plan and key.split("_")[0] in needed:
            raise ValueError(
                f"No images to evaluate on: give a labelled folder with --{key.split('_')[0]}, or "
                f"`evaluation.{key}` in the config."
            )
    for name, option, value in (
        ("knn", "k", k),
        ("svm", "low_shot", low_shot),
        ("cluster", "num_clusters", num_clusters),
    ):
        if value is None:
            continue
        if name not in plan["methods"]:
            raise ValueError(
                f"--{option.replace('_', '-')} is an option of --{name}, which was not asked for."
            )
        plan[name] = {**plan[name], option: list(value)}
    if last_blocks is not None:
        plan["last_blocks"] = last_blocks
    if plan.get("patch_mean") and not plan.get("last_blocks"):
        raise ValueError(
            "evaluation.patch_mean is an option of last_blocks, which says how many blocks."
        )
    check_options(plan, plan["methods"])
    return plan


def _refuse_others(path: str, node: Mapping[str, Any], valid: set[str]) -> None:
    """Raise at the first key of `node` that is none of `valid`."""
    for key in node:
        if key not in valid:
            near = difflib.get_close_matches(key, valid, 1)
            raise ValueError(
                f"{path}.{key}: {path} takes no {key!r}."
                + (f" Did you mean {near[0]!r}?" if near else "")
                + f" It takes: {', '.join(sorted(valid))}."
            )


def build_backbone(
    config: Config | None,
    checkpoint: str | None,
    *,
    branch: str = "auto",
    seed: int = 0,
    trust_pickle: bool = False,
) -> tuple[nn.Module, nn.Module, dict[str, Any]]:
    """The backbone of a config with the weights of a checkpoint, and its preprocessor.

    Args:
        config: Holds `model.backbone` and maybe `model.data_preprocessor`, without which images are
            normalised as the checkpoint says (`known_colours`); `None` for the one that it carries.
        checkpoint: A file of any layout that `load_backbone` knows; `None` for the config's own
            initialisation (random, unless its `init_cfg` loads weights).
        branch: `online`, `twin`, or `auto`.
        seed: Of the random initialisation.
        trust_pickle: See `load_weights_file`.

    Returns:
        Backbone, preprocessor, and a record of where the weights come from.

    Raises:
        ValueError: The file does not hold every tensor of the backbone, or there is no config.
    """
    content = None
    if checkpoint is not None:
        content = load_weights_file(checkpoint, trust_pickle=trust_pickle)
    if config is None:
        if content is None:
            raise ValueError("A network needs a config, or a checkpoint that carries one.")
        config = Config(carried_config(content, checkpoint))
    model = config.get("model", {})
    if "backbone" not in model:
        raise ValueError(f"{config.filename} has no model.backbone to evaluate.")
    with preserved_rng():
        torch.manual_seed(seed)
        backbone = MODELS.build(model["backbone"])
        if checkpoint is None and hasattr(backbone, "init_weights"):
            backbone.init_weights()
    preprocessor = _preprocessor(
        model.get("data_preprocessor"), None if content is None else known_colours(content)
    )
    record: dict[str, Any] = dict(checkpoint=None, branch="none", initialisation_seed=seed)
    if checkpoint is not None and content is not None:
        report = load_backbone(backbone, content, branch=branch, source=checkpoint)
        record = weights_record(checkpoint, content, report)
    return backbone, preprocessor, record


def _preprocessor(config: Mapping[str, Any] | None, known: Colours | None) -> nn.Module:
    """That of a config, or else the one whose colours the weights know; a warning where both differ."""
    if config is not None:
        preprocessor = MODELS.build(config)
        fault = colour_fault(known, preprocessor)
        if fault is not None:
            print_log(fault, logger="current", level=logging.WARNING)
        return preprocessor
    usual = dict(type="ViewPreprocessor")
    if known is None:
        return MODELS.build(usual)
    if colour_fault(known, MODELS.build(usual)) is not None:
        print_log(
            f"Images are normalised as in the pretraining: mean {known.mean}, std {known.std}.",
            logger="current",
        )
    return MODELS.build(usual | known._asdict())


def evaluate_backbone(
    config: Config,
    checkpoint: str | None,
    *,
    plan: Mapping[str, Any],
    methods: Sequence[Method] | None = None,
    branch: str = "auto",
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: bool = False,
    trust_pickle: bool = False,
) -> dict[str, Any]:
    """What a frozen backbone is worth: k-NN, linear probe, logistic regression, SVM, clusters.

    Features are computed once for all, unless the plan has `last_blocks`: the probe then looks at these
    blocks, and everything else at the view's feature all the same.

    Args:
        config: Holds the model.
        checkpoint: See `build_backbone`.
        plan: See `evaluation_plan`.
        methods: Which of these, instead of the plan's.
        branch: See `build_backbone`.
        seed: Of everything random; the same call gives the same result.
        device: Where features are computed and heads are trained.
        progress: Show bars.
        trust_pickle: See `load_weights_file`.

    Returns:
        A record that can be written as JSON: the results, and what a figure must not be shown
        without (protocol, data, interpolation, branch, hash of the checkpoint).

    Raises:
        ValueError: No label in one of the sets, classes that do not match, options that the images do
            not allow (before features are computed), or `last_blocks` of a backbone that does not tell
            them.
    """
    backbone, preprocessor, weights = build_backbone(
        config, checkpoint, branch=branch, seed=seed, trust_pickle=trust_pickle
    )
    sets = LabelledSets(backbone.to(device), preprocessor, plan, progress)
    chosen = plan["methods"] if methods is None else methods
    check_images(sets, plan, chosen)
    protocols = FeatureProtocols(sets, plan, seed=seed, device=device, progress=progress)
    found = {method: protocols.run(method) for method in OPTIONS if method in chosen}
    return dict(
        results={method: result for method, (result, _) in found.items()},
        weights=weights,
        feature_dims={method: dim for method, (_, dim) in found.items()},
        seed=seed,
        **_what_was_evaluated(config, plan),
        **sets.num_images,
        num_classes=sets.num_classes,
    )


def _what_was_evaluated(config: Config, plan: Mapping[str, Any]) -> dict[str, Any]:
    """What was evaluated how, for the record."""
    sets = [plan.get(f"{part}_dataset") or {} for part in ("train", "val")]
    views = [build_module(TRANSFORMS, dataset.get("views")) for dataset in sets]
    return dict(protocol=plan["protocol"], plan=plain(plan), **provenance(config, views))


def evaluate_downstream(
    config: Config, checkpoint: str | None, *, trust_pickle: bool = False
) -> dict[str, Any]:
    """Metrics of a detector or segmentor of mmdet or mmseg on its test set.

    Args:
        config: A config of the family.
        checkpoint: A complete checkpoint of this model; `None` tests it untrained.
        trust_pickle: See `load_weights_file`.

    Raises:
        ValueError: The checkpoint lacks a tensor of the model, or holds others.
    """
    config.load_from = None
    config.resume = False
    config.runner_type = config.get("runner_type", f"{SCOPE}.Runner")
    runner = RUNNERS.build(config)
    if checkpoint is not None:
        state = load_weights_file(checkpoint, trust_pickle=trust_pickle)
        state = state.get("state_dict", state)
        model = getattr(runner.model, "module", runner.model)
        expected = set(model.state_dict())
        missing, unexpected = sorted(expected - set(state)), sorted(set(state) - expected)
        if missing or unexpected:
            raise ValueError(
                f"{checkpoint} does not fit the {type(model).__name__} of {config.filename}: "
                f"{len(missing)} tensors missing {missing[:4]}, {len(unexpected)} unexpected "
                f"{unexpected[:4]}. A pretrained backbone is fine-tuned by tools/train.py first."
            )
        model.load_state_dict(state)
    sha256 = None if checkpoint is None else file_sha256(local_file(checkpoint))
    return dict(
        results=dict(test=runner.test()),
        weights=dict(checkpoint=checkpoint, sha256=sha256),
        config=str(config.filename),
        versions=dict(mmssl=__version__, torch=torch.__version__),
    )


def is_downstream(config: Config) -> bool:
    """Whether a config belongs to mmdet or mmseg."""
    return config.get("default_scope") in DOWNSTREAM_SCOPES


def write_record(record: Mapping[str, Any], path: str | Path) -> None:
    """Write a record as JSON."""
    write_text_atomically(path, json_text(record))
