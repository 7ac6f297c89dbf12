"""Loading backbone weights from any file, with proof that they arrived."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from mmssl.convert.checkpoint_file import load_weights_file
from mmssl.convert.layouts import Branch, find_weights
from mmssl.convert.load_report import LoadReport, weights_checksum


def own_names(module: nn.Module) -> dict[str, str]:
    """Names of the module's tensors as other libraries write them -> names in its state dict.

    They differ for a backbone that wraps a network of another library under one child
    (`TimmBackbone.source_prefix`).
    """
    prefix = getattr(module, "source_prefix", "")
    return {name.removeprefix(prefix): name for name in module.state_dict()}


def load_backbone(
    module: nn.Module,
    checkpoint: str | Path | dict,
    *,
    branch: Branch = "auto",
    prefix: str | None = None,
    allow_partial: bool = False,
    trust_pickle: bool = False,
    source: str | Path = "(a dictionary)",
) -> LoadReport:
    """Copy the weights of a backbone out of a file of any common layout (see `layouts`).

    Nothing is copied when the report is not acceptable. Heads, projectors and the other branch in the
    file are left over and only reported.

    Args:
        module: The backbone (or a part of one whose names the file contains).
        checkpoint: A file as in `load_weights_file`, or its content.
        branch: `online`, `twin` or `auto`, as in `find_weights`.
        prefix: Take the names behind this prefix instead of detecting it.
        allow_partial: Accept tensors that are missing or have another shape; never zero matches.
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
    names = own_names(module)
    targets = module.state_dict()
    try:
        found, taken = find_weights(content, set(names), branch=branch, prefix=prefix)
    except ValueError as error:
        raise ValueError(f"Nothing was loaded from {source}: {error}") from error

    matched: dict[str, Tensor] = {}
    missing, mismatched = [], []
    for name, own in names.items():
        if name not in found.weights:
            if not name.endswith("num_batches_tracked"):
                missing.append(own)
        elif found.weights[name].shape != targets[own].shape:
            mismatched.append(
                f"{own}: {tuple(found.weights[name].shape)} for {tuple(targets[own].shape)}"
            )
        else:
            matched[own] = found.weights[name]
    unexpected = sorted(set(found.weights) - set(names))
    parts = {name.split(".")[0] for name in names}
    cut = set(getattr(module, "cut_names", ()))
    deeper = [n for n in unexpected if n.split(".")[0] in parts and n not in cut]
    report = LoadReport(
        source=source,
        layout=str(found),
        branch=taken,
        matched=tuple(matched),
        missing=tuple(missing),
        mismatched=tuple(mismatched),
        unexpected=tuple(unexpected),
        deeper=tuple(deeper),
        checksum=weights_checksum(matched),
    )
    report.check(allow_partial=allow_partial)
    with torch.no_grad():
        for own, tensor in matched.items():
            targets[own].copy_(tensor)
    return report
