"""Commands of the documentation, run as they stand; trainings are made small by options added to them."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unit.test_docs import HAS_FAMILIES, PAGES, ROOT, blocks, logical_lines

pytestmark = [pytest.mark.integration, pytest.mark.slow]

# Added to `tools/train.py` with the recipe of CARE for a folder: one epoch of two steps of small images.
SMALL = [
    "train_dataloader.batch_size=4",
    "train_dataloader.num_workers=0",
    "train_dataloader.persistent_workers=False",
    "train_dataloader.dataset.views.views.0.transforms.0.size=64",
    "train_dataloader.dataset.views.views.1.transforms.0.size=64",
    "train_cfg.max_epochs=1",
    "param_scheduler.0.warmup=0",
    "optim_wrapper.type=OptimWrapper",
    "model.t_stream.fmap_size=4",
    "model.t_stream.num_blocks=1",
    "model.projector.hid_channels=64",
    "model.predictor.hid_channels=64",
    "default_hooks.report.num_images=1",
]
LAST_EPOCH = 200  # of that recipe, which later commands name
RUN = [page for page in PAGES if any(b.note == "run" for b in blocks(page, "shell"))]


def commands(page: Path) -> list[str]:
    """Lines of the blocks marked `run`, in order."""
    found = [block for block in blocks(page, "shell") if block.note == "run"]
    return [line for block in found for line in logical_lines(block.text) if line]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the checkout's parts in it, images without labels, and a few with."""
    for part in ("configs", "mmssl", "tests", "tools"):
        (tmp_path / part).symlink_to(ROOT / part)
    rng = np.random.default_rng(0)
    folders = ["photos", *(f"labelled/{s}/{c}" for s in ("train", "val") for c in ("cat", "dog"))]
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
        for number in range(8):
            pixels = rng.integers(0, 256, (80, 96, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f"{number}.png")
    return tmp_path


def made_small(words: list[str]) -> list[str]:
    """A command whose training takes seconds."""
    if "tools/train.py" not in words or not any("care_resnet50" in word for word in words):
        return words
    if "--cfg-options" not in words:
        return [*words, "--cfg-options", *SMALL]
    place = words.index("--cfg-options") + 1
    return [*words[:place], *SMALL, *words[place:]]


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_values_commands_of_a_page_run(page: Path, checkout: Path) -> None:
    lines = commands(page)
    if any("mmdet" in line for line in lines) and not HAS_FAMILIES:
        pytest.skip("mmdet and mmseg are not installed")
    for line in lines:
        words = made_small(shlex.split(line))
        variables = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
        while "=" in words[0]:
            name, _, value = words.pop(0).partition("=")
            variables[name] = f"{value}{os.pathsep}{ROOT}" if name == "PYTHONPATH" else value
        assert words.pop(0) == "python", line
        done = subprocess.run(
            [sys.executable, *words], cwd=checkout, env=variables, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        for trained in checkout.glob("work_dirs/*/epoch_1.pth"):
            shutil.copy(trained, trained.with_name(f"epoch_{LAST_EPOCH}.pth"))
        out = words[words.index("--out") + 1] if "--out" in words else "."
        assert (checkout / out).exists(), f"{line} has not written {out}"


def test_values_some_commands_run() -> None:
    assert len([line for page in RUN for line in commands(page)]) >= 4
