"""The run card: everything about a run that its logs do not say, as one JSON file."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from mmssl import __version__
from mmssl.convert.checkpoint_file import file_sha256
from mmssl.ops.atomic_file import write_text_atomically

CARD_NAME = "run_card.json"
CARD_SCHEMA = 1
# One row per package, under the names that it is distributed by.
PACKAGES: dict[str, tuple[str, ...]] = {
    "torch": ("torch",),
    "torchvision": ("torchvision",),
    "timm": ("timm",),
    "mmengine": ("onedl-mmengine", "mmengine"),
    "mmcv": ("onedl-mmcv", "mmcv", "mmcv-lite"),
    "mmdet": ("onedl-mmdetection", "onedl-mmdet", "mmdet"),
    "mmsegmentation": ("onedl-mmsegmentation", "mmsegmentation"),
    "numpy": ("numpy",),
    "Pillow": ("pillow",),
    "OpenCV": ("opencv-python-headless", "opencv-python"),
}


def environment() -> dict[str, Any]:
    """Where this process runs: versions of what takes part, processor, accelerators, threads."""
    devices = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return dict(
        versions={"mmssl": __version__, "Python": platform.python_version()}
        | {name: _version(names) for name, names in PACKAGES.items() if _version(names)},
        platform=platform.platform(),
        processor=_processor_name(),
        cpu_count=os.cpu_count(),
        threads=torch.get_num_threads(),
        accelerators=devices,
        cuda=torch.version.cuda if devices else None,
        command=[Path(sys.argv[0]).name, *sys.argv[1:]],
    )


def checkpoint_rows(
    work_dir: str | Path, known: Sequence[dict[str, Any]] = ()
) -> list[dict[str, Any]]:
    """The checkpoints of a run, oldest first.

    Args:
        work_dir: The run's directory; `*.pth` and `*.safetensors` directly inside it are listed.
        known: Earlier rows; a file of the same name, size and time is not read again.

    Returns:
        Rows with `file`, `bytes`, `modified` (nanoseconds) and `sha256`.
    """
    seen = {(row["file"], row["bytes"], row["modified"]): row for row in known}
    rows = []
    files = [path for kind in ("*.pth", "*.safetensors") for path in Path(work_dir).glob(kind)]
    for path in sorted(files, key=lambda path: path.stat().st_mtime_ns):
        stat = path.stat()
        key = (path.name, stat.st_size, stat.st_mtime_ns)
        rows.append(
            seen[key]
            if key in seen
            else dict(
                zip(("file", "bytes", "modified"), key, strict=True), sha256=file_sha256(path)
            )
        )
    return rows


def read_card(work_dir: str | Path) -> dict[str, Any]:
    """The run card in `work_dir`, empty when there is none.

    Raises:
        ValueError: The file is no run card, or of a version that this code does not know.
    """
    path = Path(work_dir) / CARD_NAME
    if not path.is_file():
        return {}
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # neither JSON nor text
        raise ValueError(f"{path} is damaged ({error}); move it away.") from error
    if not isinstance(card, dict) or card.get("schema") != CARD_SCHEMA:
        raise ValueError(f"{path} is no run card of schema {CARD_SCHEMA}; move it away.")
    return card


def write_card(work_dir: str | Path, card: dict[str, Any]) -> Path:
    """Write `card` as `run_card.json`, whole or not at all."""
    text = json.dumps({"schema": CARD_SCHEMA} | card, indent=2, default=str)
    return write_text_atomically(Path(work_dir) / CARD_NAME, text + "\n")


def _version(names: Sequence[str]) -> str:
    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return ""


def _processor_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
