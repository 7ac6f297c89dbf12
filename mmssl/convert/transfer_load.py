"""Put a pretrained backbone into a detector or segmenter, completely or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from mmssl.convert.checkpoint_file import file_sha256, load_weights_file
from mmssl.convert.load_backbone import load_backbone
from mmssl.convert.load_parts import check_is_export, load_parts
from mmssl.convert.load_report import LoadReport

REQUIRED = "REQUIRED"
"""Value of `load_from` in a transfer config: whoever trains must name a backbone, or None."""

HOW_TO_GIVE_A_BACKBONE = (
    "Export one with\n"
    "    python tools/export_backbone.py CHECKPOINT backbone.pth --to mmdet     (or --to mmseg)\n"
    "and add\n"
    "    --cfg-options load_from=backbone.pth\n"
    "For the baseline of random initialisation, say so with --cfg-options load_from=None."
)


def check_load_from(load_from: str | None, *, transfer: bool = True) -> None:
    """Raise if a transfer config was started without a backbone that exists, before work is done.

    Args:
        load_from: Of the config.
        transfer: Whether the config is a detector's or segmentor's, which starts from an export.

    Raises:
        FileNotFoundError: `load_from` is a path, and there is no such file.
        ValueError: `load_from` still is the placeholder of the config.
    """
    if load_from == REQUIRED:
        raise ValueError(
            "This config fine-tunes a pretrained backbone, and none was given. "
            + HOW_TO_GIVE_A_BACKBONE
        )
    if load_from is None or "://" in str(load_from) or Path(load_from).expanduser().is_file():
        return
    raise FileNotFoundError(
        f"load_from={load_from} does not exist (looked from {Path.cwd()})."
        + (f" {HOW_TO_GIVE_A_BACKBONE}" if transfer else "")
    )


class TransferLoad(NamedTuple):
    """What `load_backbone_into` did.

    Attributes:
        parts: The load report of each part of the network that received weights, by its name.
        sha256: Hash of the file.
        meta: What the exporter wrote beside the weights; empty for files of another origin.
    """

    parts: dict[str, LoadReport]
    sha256: str
    meta: dict[str, Any]

    def __str__(self) -> str:
        return "\n".join(f"{name}: {report}" for name, report in self.parts.items())

    def record(self) -> dict[str, Any]:
        """What a result row has to say about the backbone, as plain data."""
        first = next(iter(self.parts.values()))
        return dict(
            source=first.source,
            sha256=self.sha256,
            layout=first.layout,
            branch=first.branch,
            tensors={name: len(report.matched) for name, report in self.parts.items()},
            checksums={name: report.checksum for name, report in self.parts.items()},
            meta=self.meta,
        )


def exported_meta(content: Mapping[str, Any]) -> dict[str, Any]:
    """What an export says of itself; safetensors keeps texts only, so the rest is read back from JSON.

    Args:
        content: Of a weights file.

    Example:
        >>> exported_meta(dict(meta=dict(method="PixPro", mean="[1.0, 2.0]", epoch="null")))
        {'method': 'PixPro', 'mean': [1.0, 2.0], 'epoch': None}
    """

    def value(text: Any) -> Any:
        try:
            return json.loads(text) if isinstance(text, str) else text
        except ValueError:
            return text

    return {key: value(text) for key, text in dict(content.get("meta") or {}).items()}


def load_backbone_into(
    model: nn.Module, path: str | Path, *, trust_pickle: bool = False
) -> TransferLoad:
    """Load the backbone of a file into `model.backbone`, and what else of a detector the file has.

    In a C4 detector the last ResNet stage is `model.roi_head.shared_head`; its `layer*` tensors come
    from the same file, whatever else it has (an extra norm) stays as initialised. An exported FPN goes into
    `model.neck`, exported towers into `model.bbox_head`; their settings must be those of pretraining.

    Args:
        model: A detector or segmenter with a `backbone`.
        path: An export, or any other file that `load_backbone` reads.
        trust_pickle: Allow a pickle to run code.

    Raises:
        FileNotFoundError: There is no such file.
        PermissionError: A pickle wants more than tensors and is not trusted.
        ValueError: The model has no backbone; or a tensor of it is not in the file; or a stage, an FPN or
            a tower in the file has no place in the model or other settings there.
    """
    backbone = getattr(model, "backbone", None)
    if not isinstance(backbone, nn.Module):
        raise ValueError(
            f"{type(model).__name__} has no `backbone` that {path} could be loaded into."
        )
    content = load_weights_file(path, trust_pickle=trust_pickle)
    check_is_export(model, content, path)
    meta = exported_meta(content)
    parts = {"backbone": load_backbone(backbone, content, source=path)}
    shared_head = getattr(getattr(model, "roi_head", None), "shared_head", None)
    if shared_head is not None:
        stages = nn.ModuleDict(
            {
                name: child
                for name, child in shared_head.named_children()
                if name.startswith("layer")
            }
        )
        parts["roi_head.shared_head"] = load_backbone(stages, content, source=path)
    placed = {name for report in parts.values() for name in report.matched}
    left = sorted({n.split(".")[0] for n in parts["backbone"].unexpected if n not in placed})
    stages_left = [name for name in left if name.startswith(("layer", "stages"))]
    if stages_left:
        raise ValueError(
            f"{path} has {', '.join(stages_left)}, for which this {type(model).__name__} has no place: "
            "its backbone has fewer stages, and no shared_head takes the last one."
        )
    parts |= load_parts(model, content, meta.get("parts") or {}, path)
    return TransferLoad(parts, file_sha256(path), meta)
