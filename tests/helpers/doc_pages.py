"""The commands of a page of the documentation, run in order in one folder that has what they name."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import time
from pathlib import Path

from tests.helpers.commands import ROOT, run_command
from tests.helpers.doc_files import provide
from tests.helpers.doc_marks import runnable_lines
from tests.helpers.doc_sizes import made_small
from tests.unit.test_docs import blocks, logical_lines, name_of, with_bases

STANDS_FOR = (
    (r"CONFIG work_dirs/pcl", "CONFIG", "pcl.py"),
    (r"cluster_tree\.py CONFIG", "CONFIG", "hcsc.py"),
    (r"cluster_tree|prototype_scores", "CHECKPOINT", "work_dirs/hcsc/epoch_200.pth"),
    (r"fcn_r50-d8.*CHECKPOINT", "CHECKPOINT", "fcn.pth"),
    (r"--parts", "CHECKPOINT", "pyramid.pth"),
    (r"swin-shapes|correspondence\.py CHECKPOINT", "CHECKPOINT", "run.pth"),
    (r"resnet18", "CHECKPOINT", "resnet18.pth"),
    (r"swin", "CHECKPOINT", "swin_tiny.pth"),
    (r"", "CONFIG", "config.py"),
    (r"", "CHECKPOINT", "run.pth"),
)
"""(a command that, its word, what that means there), the first that fits."""

LINKED, COPIED = ("mmssl", "tests"), ("configs", "docs", "tools")
"""Parts of the checkout; tools may write beside themselves, which is not for the checkout."""


def commands(page: Path) -> list[str]:
    """The commands of a page that its marks do not leave out, in order."""
    found = []
    for block in blocks(page, "shell", "bash", "sh"):
        lines = [line for line in logical_lines(block.text) if line and line[0] != "#"]
        try:
            found += runnable_lines(block.note, lines)
        except ValueError as error:
            raise ValueError(f"{name_of(page)}: {error}\n{block.text}") from None
    return found


def meaning(line: str) -> str:
    """A command with the files that its placeholders stand for."""
    for pattern, word, name in STANDS_FOR:
        if re.search(pattern, line):
            line = re.sub(rf"(?<![\w.-]){word}\b", name, line)
    return line


def open_page(page: Path, folder: Path, cache: Path) -> list[str]:
    """Prepare a folder for a page: the checkout, files that the page shows, stand-ins; its commands."""
    for part in LINKED:
        (folder / part).symlink_to(ROOT / part)
    for part in COPIED:
        shutil.copytree(ROOT / part, folder / part)
    shutil.copy(ROOT / "README.md", folder)
    for block in blocks(page, "python"):
        if block.note.startswith("file: "):
            (folder / block.note.removeprefix("file: ")).write_text(with_bases(block.text))
    lines = [meaning(line) for line in commands(page)]
    provide(folder, name_of(page), "\n".join(lines), cache)
    return lines


def call_first_last(folder: Path, lines: list[str]) -> None:
    """Give checkpoints of small runs the names under which later commands look for them."""
    for name, unit in set(
        re.findall(r"(work_dirs/[\w./-]+/(epoch|iter)_\d+\.pth)", "\n".join(lines))
    ):
        first = (folder / name).with_name(f"{unit}_1.pth")
        if first.exists() and not (folder / name).exists():
            os.link(first, folder / name)


def run_page(page: Path, folder: Path, cache: Path) -> dict[str, float]:
    """Run all commands of a page that can run here; seconds of each.

    Raises:
        AssertionError: One failed, or has not written the file behind its --out; with its output.
    """
    lines = open_page(page, folder, cache)
    seconds = {}
    for line in lines:
        begin = time.perf_counter()
        words = made_small(line, shlex.split(line))
        status, output = run_command(words, folder)
        assert status == 0, f"{name_of(page)}: {line}\n{output[-3000:]}"
        call_first_last(folder, lines)
        out = words[words.index("--out") + 1] if "--out" in words else "."
        assert (folder / out).exists(), f"{line} has not written {out}"
        seconds[line] = time.perf_counter() - begin
    return seconds
