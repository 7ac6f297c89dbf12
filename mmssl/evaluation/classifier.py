"""Accuracy of a trained classifier on the validation images of its config, by trained or averaged weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.config import Config
from rich.progress import track
from torch import Tensor, nn

from mmssl.convert.checkpoint_file import file_sha256, load_weights_file, local_file
from mmssl.evaluation.features import evaluation_loader
from mmssl.evaluation.provenance import provenance
from mmssl.registry import METRICS, MODELS

_TWIN = "twin."
_COUNTER = "num_batches_tracked"


def is_classifier(config: Config) -> bool:
    """Whether a config trains a classifier and says on which images it is validated."""
    kind = str(config.get("model", {}).get("type", "")).rpartition(".")[2]
    return kind == "ImageClassifier" and bool(config.get("val_dataloader"))


def evaluate_classifier(
    config: Config,
    checkpoint: str,
    *,
    branch: str = "auto",
    device: torch.device | str = "cpu",
    progress: bool = False,
    trust_pickle: bool = False,
) -> dict[str, Any]:
    """Figures of the config's validation, as training has them after an epoch.

    Args:
        config: Of a classifier, see `is_classifier`.
        checkpoint: A whole model: of `tools/train.py`, or converted from its authors' layout.
        branch: `twin`, the averaged weights; `online`, the trained ones; `auto`, the averaged ones where the
            file has them.
        device: Where scores are computed.
        progress: Show a bar.
        trust_pickle: See `load_weights_file`.

    Returns:
        A record that can be written as JSON: the figures, and what they depend on.

    Raises:
        ValueError: No classifier, no such weights in the file, or weights of another network.
    """
    if not is_classifier(config):
        raise ValueError(
            f"{config.filename} is no config of a classifier with validation images; --classify is for "
            "ImageClassifier (see configs/cotnet and configs/benchmarks)."
        )
    settings = {key: value for key, value in config.model.items() if key != "momentum"}
    settings["backbone"] = {k: v for k, v in settings["backbone"].items() if k != "init_cfg"}
    model = MODELS.build(settings)
    content = load_weights_file(checkpoint, trust_pickle=trust_pickle)
    state, used = _network(content, branch, checkpoint)
    _load(model, state, checkpoint)
    model.to(device).eval()
    options = config.val_dataloader
    loader = evaluation_loader(
        options.dataset,
        batch_size=options.get("batch_size", 64),
        num_workers=options.get("num_workers", 0),
    )
    metric = METRICS.build(config.val_evaluator)
    for batch in track(loader, description="Scores", disable=not progress):
        with torch.no_grad():
            metric.process(batch, model.val_step(batch))
    return dict(
        results=dict(test=metric.evaluate(len(loader.dataset))),
        weights=dict(
            checkpoint=str(checkpoint), sha256=file_sha256(local_file(checkpoint)), branch=used
        ),
        num_val=len(loader.dataset),
        **provenance(config, [getattr(loader.dataset, "views", None)]),
    )


def _network(file: Mapping[str, Any], branch: str, path: str) -> tuple[dict[str, Tensor], str]:
    """Trained or averaged weights under the names of the trained ones, and which of the two."""
    state = file.get("state_dict", file)
    averaged = {k.removeprefix(_TWIN): v for k, v in state.items() if k.startswith(_TWIN)}
    averaged.pop("num_updates", None)
    if branch == "auto":
        branch = "twin" if averaged else "online"
    if branch == "twin" and not averaged:
        raise ValueError(f"{path} holds no averaged weights (twin.*); use --branch online.")
    if branch == "twin":
        return averaged, branch
    return {k: v for k, v in state.items() if not k.startswith(_TWIN)}, branch


def _load(model: nn.Module, state: Mapping[str, Tensor], path: str) -> None:
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    found = {name: tensor.shape for name, tensor in state.items() if isinstance(tensor, Tensor)}
    # files of the authors and of other libraries may lack the counters, and scores need none
    missing = sorted(n for n in expected.keys() - found.keys() if not n.endswith(_COUNTER))
    unexpected = sorted(found.keys() - expected)
    other = [name for name in expected if name in found and expected[name] != found[name]]
    if missing or unexpected or other:
        raise ValueError(
            f"{path} does not fit the classifier of the config: {len(missing)} tensors missing "
            f"{missing[:3]}, {len(unexpected)} unexpected {unexpected[:3]}, {len(other)} of another shape "
            f"{other[:3]}. Files in their authors' layout are converted by tools/convert_checkpoint.py."
        )
    model.load_state_dict({name: state[name] for name in expected if name in found}, strict=False)
