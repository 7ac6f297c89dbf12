"""Loading backbone weights from any file, with proof that they arrived."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmssl.convert.checkpoint_file import load_weights_file
from mmssl.convert.config_text import read_config_text
from mmssl.convert.layouts import Branch, find_weights, num_found
from mmssl.convert.load_report import LoadReport, weights_checksum
from mmssl.convert.name_layouts import DERIVED, fresh_names, name_layouts
from mmssl.convert.position_tables import fit_position_table
from mmssl.convert.published_branch import published_branch


class _Matches(NamedTuple):
    """How the tensors of a file fit a module: see `LoadReport`, whose words these are."""

    tensors: dict[str, Tensor]
    missing: list[str]
    mismatched: list[str]
    resized: list[str]
    fresh: list[str]


def _match(module: nn.Module, weights: Mapping[str, Tensor], fresh: Collection[str]) -> _Matches:
    """Pair `weights`, by the module's own names, with the module's tensors; `fresh` ones may lack."""
    found = _Matches({}, [], [], [], [])
    for name, target in module.state_dict().items():
        if DERIVED.fullmatch(name):
            continue
        tensor = weights.get(name)
        if tensor is None:
            if name in fresh:
                found.fresh.append(name)
            elif not name.endswith("num_batches_tracked"):
                found.missing.append(name)
            continue
        shapes = f"{tuple(tensor.shape)} {{}} {tuple(target.shape)}"
        if tensor.shape != target.shape:
            table = name.endswith("relative_position_bias_table")
            fitted = fit_position_table(tensor, target.shape) if table else None
            if fitted is None:
                found.mismatched.append(f"{name}: {shapes.format('for')}")
                continue
            found.resized.append(f"{name}: {shapes.format('to')}")
            tensor = fitted
        found.tensors[name] = tensor
    return found


def _warn_of_padding(module: nn.Module, content: Mapping[str, Any], source: str) -> None:
    """Say when the config in the file has another `padding` than the network: names and shapes are equal."""
    meta = content.get("meta")
    text = meta.get("cfg") if isinstance(meta, Mapping) else None
    own = getattr(module, "padding", "symmetric")
    if not isinstance(text, str) or ("padding" not in text and own != "same"):
        return
    try:
        trained = read_config_text(text)["model"]["backbone"].get("padding", "symmetric")
    except (KeyError, TypeError, ValueError, AttributeError):  # not a config of ours
        return
    if {own, trained} == {"same", "symmetric"}:
        warnings.warn(
            f"The weights of {source} were trained with padding={trained!r} and are loaded into a network "
            f"that pads {own!r}: behind every stride its windows lie elsewhere, which costs accuracy. "
            "mmssl.ResNet(padding='same') is the network that pads as TensorFlow does.",
            stacklevel=3,
        )


def load_backbone(
    module: nn.Module,
    checkpoint: str | Path | dict,
    *,
    branch: Branch = "auto",
    prefix: str | None = None,
    allow_partial: bool = False,
    may_lack: Collection[str] = (),
    trust_pickle: bool = False,
    source: str | Path = "(a dictionary)",
) -> LoadReport:
    """Copy the weights of a backbone out of a file of any common layout (see `layouts`, `name_layouts`).

    Nothing is copied when the report is not acceptable. Heads, projectors and the other branch in the
    file are left over and only reported. Position tables of another window are resized.

    Args:
        module: The backbone (or a part of one whose names the file contains).
        checkpoint: A file as in `load_weights_file`, or its content.
        branch: `online`, `twin`, or `auto`: what the method publishes (`find_weights`, `published_branch`).
        prefix: Take the names behind this prefix instead of detecting it.
        allow_partial: Accept tensors that are missing or have another shape; never zero matches.
        may_lack: Names of the module that pretraining had no weights for; they are reported as fresh.
        trust_pickle: Allow a pickle to run code.
        source: What the report calls a checkpoint that is given by its content.

    Returns:
        The report; log it.

    Raises:
        FileNotFoundError: There is no such file.
        PermissionError: A pickle wants more than tensors and is not trusted.
        ValueError: Unreadable file, nothing matched, or an incomplete match without `allow_partial`.
    """
    if isinstance(checkpoint, dict):
        source, content = str(source), checkpoint
    else:
        source, content = str(checkpoint), load_weights_file(checkpoint, trust_pickle=trust_pickle)
    # the first wins among equals: the network's own names
    layout = max(name_layouts(module), key=lambda one: num_found(content, set(one.names)))
    try:
        found, taken = find_weights(
            content,
            set(layout.names),
            branch=branch,
            published=published_branch(content) if branch == "auto" else "online",
            prefix=prefix,
        )
    except ValueError as error:
        raise ValueError(f"Nothing was loaded from {source}: {error}") from error

    known = {name: w for name, w in found.weights.items() if name in layout.names}
    matches = _match(module, layout.convert(known), fresh_names(module).union(may_lack))
    unexpected = [n for n in found.weights if n not in known and not DERIVED.fullmatch(n)]
    parts = {name.split(".")[0] for name in layout.names}
    cut = set(getattr(module, "cut_names", ()))
    report = LoadReport(
        source=source,
        layout=f"{found}{f'; names of {layout.origin}' if layout.origin else ''}",
        branch=taken,
        matched=tuple(matches.tensors),
        missing=tuple(matches.missing),
        mismatched=tuple(matches.mismatched),
        unexpected=tuple(sorted(unexpected)),
        deeper=tuple(sorted(n for n in unexpected if n.split(".")[0] in parts and n not in cut)),
        checksum=weights_checksum(matches.tensors),
        resized=tuple(matches.resized),
        fresh=tuple(matches.fresh),
    )
    report.check(allow_partial=allow_partial)
    _warn_of_padding(module, content, source)
    targets = module.state_dict()
    with torch.no_grad():
        for name, tensor in matches.tensors.items():
            targets[name].copy_(tensor)
    return report
