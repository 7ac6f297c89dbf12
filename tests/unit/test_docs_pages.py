"""Pages whose code is run in order, and pages that quote what the program says."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from PIL import Image

from mmssl.convert.key_map import check_complete
from mmssl.convert.official.family_files import source_file
from mmssl.convert.official.mmselfsup import family_method
from mmssl.convert.official.told_config import read_off
from mmssl.engine.config import load_config
from mmssl.evaluation.collapse_doctor import CAUSES
from mmssl.registry import MODELS
from tests.helpers.doc_pages import commands
from tests.unit.test_convert_mmselfsup import listed
from tests.unit.test_docs import (
    COMMAND,
    PAGES,
    ROOT,
    blocks,
    logical_lines,
    name_of,
    with_bases,
)

RUN = ("training_step", "add_a_backbone", "add_a_dataset", "add_a_plugin", "checkpoints")


def page(name: str) -> Path:
    return ROOT / "docs" / f"{name}.md"


def draw_images(folder: Path, number: int) -> None:
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for index in range(number):
        pixels = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")


@pytest.mark.parametrize("name", RUN)
def test_values_code_of_a_page_runs(name, tmp_path, monkeypatch):
    """Its files and its blocks in order, beside a folder `photos` and another of `videos`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    draw_images(tmp_path / "photos", 8)
    for video in ("a", "b"):
        draw_images(tmp_path / "videos" / video, 4)
    names: dict = {"__name__": f"page_{name}"}
    ran = 0
    for block in blocks(page(name), "python"):
        if block.note.startswith("file: "):
            (tmp_path / block.note.removeprefix("file: ")).write_text(with_bases(block.text))
        elif not re.search(r"^_base_ = ", block.text, re.M):  # configs: test_docs.py
            exec(compile(block.text, f"docs/{name}.md", "exec"), names)
            ran += 1
    assert ran


@pytest.mark.parametrize("shown", PAGES, ids=name_of)
def test_values_commands_run_or_say_what_they_need(shown):
    """`run` in front of a block, or what of tests/helpers/doc_marks.py is not here."""
    commands(shown)


@pytest.mark.parametrize("shown", PAGES, ids=name_of)
def test_values_commands_stand_in_marked_blocks(shown):
    """Not in indented blocks, nor in fenced ones without a language, where no mark is asked for."""
    unmarked = re.sub(r"```(?:shell|bash|sh)\n.*?```", "", shown.read_text("utf-8"), flags=re.S)
    for line in logical_lines(unmarked):
        assert not COMMAND.match(line), f"{name_of(shown)}: put this into a shell block: {line}"
        assert not re.match(r"make [a-z-]+(  |$)", line), f"{name_of(shown)}: {line}"


@pytest.mark.parametrize("shown", PAGES, ids=name_of)
def test_values_every_snippet_is_run(shown):
    """By the test above, as a config that test_docs.py loads, or as a file that a command reads."""
    if shown.parent.name == "docs" and shown.stem in (*RUN, "add_a_method"):
        return
    named = "\n".join(commands(shown))
    for block in blocks(shown, "python"):
        file = block.note.removeprefix("file: ")
        loaded = not block.note and re.search(r"^_base_ = ", block.text, re.M)
        assert loaded or (file and file in named), f"{name_of(shown)}: nothing runs\n{block.text}"


def test_values_json_of_the_pages():
    found = [block for shown in PAGES for block in blocks(shown, "json")]
    assert all(json.loads(block.text) for block in found)
    assert found


def said() -> list[str]:
    """All strings of each file of the program, in order, with `...` where a value is put in."""
    found = []
    for path in [*(ROOT / "mmssl").rglob("*.py"), *(ROOT / "tools").glob("*.py")]:
        strings = []
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [v.value if isinstance(v, ast.Constant) else "..." for v in node.values]
                strings.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                strings.append(node.value)
        found.append(re.sub(r"\s+", " ", "\n".join(strings)))
    return found


def test_values_messages_are_those_of_the_program():
    """Each line of a `text` block is of one file, whatever stands where the page has `...`."""
    texts = said()
    shown = [block.text for block in blocks(page("troubleshooting"), "text")]
    lines = "".join(shown).splitlines()
    assert len(lines) > 10
    for line in lines:
        pieces = [piece.strip(" .") for piece in line.split("...") if len(piece) > 4]
        assert any(all(piece in text for piece in pieces) for text in texts), line


def test_values_faults_of_the_doctor():
    text = page("troubleshooting").read_text(encoding="utf-8")
    shown = re.findall(r"^\| `([a-z ]+)` \|", text, re.M)
    assert shown == list(CAUSES)


def test_values_names_of_the_migration_exist():
    """Classes in the column `ours` are defined here or in mmengine."""
    defined = {
        node.name
        for path in (ROOT / "mmssl").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    } | {"OptimWrapper", "CheckpointHook", "LoggerHook", "SyncBN", "None", "True", "False"}
    rows = re.findall(r"^\| .+? \| (.+?) \|", page("migration").read_text(encoding="utf-8"), re.M)
    named = {name for row in rows for name in re.findall(r"`[^`]*?\b([A-Z][a-z]\w+)", row)}
    assert len(named) > 15
    assert not named - defined


@pytest.mark.parametrize("case", ["mocov2_resnet50", "simclr_resnet50", "byol_resnet50"])
def test_values_translated_models_are_theirs(case, tmp_path):
    """Every tensor of their released file has its place and shape in the model that the page shows."""
    file = dict(state_dict=listed(case), meta=dict(epoch=3))
    method = family_method(file)
    kind = dict(moco="MoCo", simclr="SimCLR", byol="BYOL")[method]
    (text,) = (b.text for b in blocks(page("migration"), "python") if f'type="{kind}"' in b.text)
    path = tmp_path / "theirs.py"
    path.write_text(with_bases(text))
    config = load_config(path)
    with torch.device("meta"):
        model = MODELS.build(config.model)
    layout = source_file(method, file)
    ours = layout.from_file(file, 7)
    check_complete(ours, model.state_dict())
    # options that leave no trace in the weights are those that the converter takes for them
    converted, _ = read_off(file, ours, layout)
    for name in ("temperature", "loss_scale"):
        assert config.model.get(name) == converted.get(name), name
    if "optim_wrapper" in text:
        with DefaultScope.overwrite_default_scope("mmssl"):
            groups = build_optim_wrapper(model, config.optim_wrapper).optimizer.param_groups
        assert [group["lars_exclude"] for group in groups] == [False, True]
        assert all(p.ndim == 1 and g["weight_decay"] == 0 for g in groups[1:] for p in g["params"])
        assert all(parameter.ndim > 1 for parameter in groups[0]["params"])
