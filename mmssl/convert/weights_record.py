"""Which weights a figure belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmssl.convert.checkpoint_file import file_sha256, local_file
from mmssl.convert.load_report import LoadReport


def finished(content: Mapping[str, Any], unit: str) -> int | None:
    """The finished epochs or iterations that a file states, in the mm family's `meta` or beside the weights.

    Args:
        content: Of a weights file.
        unit: `epoch` or `iter`.

    Example:
        >>> finished(dict(epoch=200, arch="resnet50"), "epoch")
        200
    """
    meta = content.get("meta")
    stated = (meta if isinstance(meta, Mapping) else content).get(unit)
    return stated if isinstance(stated, int) else None


def weights_record(
    checkpoint: str | Path, content: Mapping[str, Any], report: LoadReport
) -> dict[str, Any]:
    """What was loaded, for a record that can be written as JSON.

    Args:
        checkpoint: A path, URL or `torchvision://name`.
        content: What is in it.
        report: Of `load_backbone`.
    """
    return dict(
        checkpoint=str(checkpoint),
        sha256=file_sha256(local_file(checkpoint)),
        weights_checksum=report.checksum,
        branch=report.branch,
        epoch=finished(content, "epoch"),
        matched=len(report.matched),
    )
