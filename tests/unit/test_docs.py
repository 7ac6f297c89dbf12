"""What the documentation says is true: links, commands, options, configs, code, hook order, versions."""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.util
import re
import shlex
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmssl.engine import config_check
from mmssl.engine.config import load_config
from mmssl.engine.config_check import ConfigError
from mmssl.engine.runner import Runner
from tests.helpers.runs import toy_config

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
    + [*ROOT.glob("docs/*.md"), *ROOT.glob("configs/**/README.md"), ROOT / "tests/plugin/README.md"]
)
TOOLS = sorted([*ROOT.glob("tools/*.py"), *ROOT.glob("tools/*.sh")])
# A tool's path, an optional environment in front, and the rest of the line.
COMMAND = re.compile(
    r"^(?:[A-Z_]+=\S+ )*(?:python )?((?:tools|configs)/[\w/]+\.(?:py|sh))(?: (.*))?$"
)
HAS_FAMILIES = all(importlib.util.find_spec(name) for name in ("mmdet", "mmseg"))
# Arguments of a launcher in front of those of the tool that it starts.
LAUNCHERS = {"dist_train.sh": ("train.py", 2), "dist_test.sh": ("test.py", 3)}


class Block(NamedTuple):
    """A fenced block of a page, and the comment line in front of it."""

    page: Path
    language: str
    note: str
    text: str


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(page: Path, *languages: str) -> list[Block]:
    pattern = r"(?:^<!-- ([^\n]*?) -->\n)?^```(\w*)\n(.*?)^```"
    found = re.findall(pattern, page.read_text(encoding="utf-8"), re.M | re.S)
    return [Block(page, kind, note, text) for note, kind, text in found if kind in languages]


def logical_lines(text: str) -> list[str]:
    return [
        line.split(" # ")[0].split("    #")[0].strip()
        for line in re.sub(r"\\\n\s*", " ", text).splitlines()
    ]


def commands() -> list[tuple[str, str]]:
    """(where, command) of every command line in the pages and in the headers of configs."""
    found = []
    for page in PAGES:
        for block in blocks(page, "shell", "bash", "sh", ""):
            found += [(name_of(page), line) for line in logical_lines(block.text)]
        # Markdown's indented blocks, and commands quoted in a sentence.
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
        found += [(name_of(page), line) for line in logical_lines(text)]
        found += [(name_of(page), line) for line in re.findall(r"`(python tools/[^`]+)`", text)]
    for config in ROOT.glob("configs/**/*.py"):
        header = ast.get_docstring(ast.parse(config.read_text(encoding="utf-8"))) or ""
        found += [(name_of(config), line) for line in logical_lines(header)]
    return sorted({pair for pair in found if COMMAND.match(pair[1])})


def parse(tool: Path, arguments: list[str], monkeypatch) -> argparse.Namespace:
    """What the tool's own parser makes of `arguments`; the tool does nothing else."""

    class Parsed(Exception):
        pass

    def parse_args(self, given=None, namespace=None):
        result, unknown = self.parse_known_args(arguments, namespace)
        raise Parsed(result, unknown)

    monkeypatch.syspath_prepend(str(tool.parent))  # as when it is started
    spec = importlib.util.spec_from_file_location(f"doc_{tool.stem}", tool)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", [str(tool), *arguments])
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
    try:
        module.main()
    except Parsed as caught:
        namespace, unknown = caught.args
    finally:
        monkeypatch.undo()
    assert not unknown, f"{tool.name} does not know {unknown}"
    return namespace


def inherits_families(path: Path) -> bool:
    """Whether a config has a base in mmdet or mmseg, so that they must be installed to read it."""
    text = path.read_text(encoding="utf-8")
    bases = re.search(r"^_base_ = (\[.*?\]|\S+)", text, re.M | re.S)
    names = re.findall(r"['\"]([^'\"]+)['\"]", bases.group(1)) if bases else []
    return any("::" in name or inherits_families(path.parent / name) for name in names)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{name_of(page)} links to {target}, which does not exist"
        if anchor:
            titles = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.M)
            anchors = [re.sub(r"[^\w -]", "", t).lower().replace(" ", "-") for t in titles]
            assert anchor in anchors, f"{name_of(page)}: no heading for {target}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_paths_of_the_checkout_exist(page):
    text = page.read_text(encoding="utf-8")
    for path in re.findall(
        r"(?<![\w/.:-])((?:configs|tools|tests|mmssl)/[\w./+-]+\.(?:py|sh|md))\b", text
    ):
        assert (ROOT / path).exists(), f"{name_of(page)} names {path}, which does not exist"


def test_values_there_are_commands_to_check():
    lines = [line for _, line in commands()]
    assert sum("tools/train.py" in line for line in lines) >= 8
    assert sum("export_backbone.py" in line for line in lines) >= 4
    assert sum(line.startswith("tools/dist_train.sh") for line in lines) >= 10


@pytest.mark.parametrize("tool", TOOLS + sorted(ROOT.glob("tools/benchmarks/*.py")), ids=name_of)
def test_commands_parse(tool, monkeypatch):
    """Every command of the pages that starts this tool: its arguments, configs and overrides exist."""
    read: dict[str, set[str]] = {}
    for where, line in commands():
        script, rest = COMMAND.match(line).groups()
        if script != name_of(tool):
            continue
        arguments, target = shlex.split(re.sub(r"[\[\]]", "", rest or "")), tool
        if tool.suffix == ".sh":
            launched, own = LAUNCHERS.get(tool.name, ("train.py", 3))
            assert len(arguments) >= own, f"{where}: {line} has too few arguments"
            if tool.name == "slurm_train.sh":
                arguments = (
                    arguments[2:3] + [a for a in arguments[3:4] if a[0] == "-"] + arguments[4:]
                )
            else:
                arguments = arguments[: own - 1] + arguments[own:]
            target = ROOT / "tools" / launched
        args = parse(target, arguments, monkeypatch)
        config = getattr(args, "config", None)
        if config and config.startswith(("configs/", "tests/")):
            assert (ROOT / config).is_file(), f"{where} names {config}, which does not exist"
            read.setdefault(config, set())
            overrides = getattr(args, "cfg_options", None)
            if overrides:
                check_overrides(ROOT / config, overrides, f"{where}: {line}", monkeypatch)


@cache
def config_of(path: Path) -> Config:
    """A config without overrides."""
    return load_config(path)


def check_overrides(config: Path, overrides: dict, where: str, monkeypatch) -> None:
    """A config accepts these `--cfg-options`, and they change something that it has or may have."""
    if inherits_families(config) and not HAS_FAMILIES:
        return
    monkeypatch.syspath_prepend(str(ROOT / "tests/plugin"))
    monkeypatch.chdir(ROOT)
    bare = config_of(config)
    for key in overrides:
        assert key.split(".")[0] in bare, f"{where}: the config has no {key.split('.')[0]}"
    # as `load_config` does, which would read all bases again
    changed = copy.deepcopy(bare)
    config_check.check_overrides(changed, overrides)
    changed.merge_from_dict(overrides)
    config_check.check_config(changed)
    monkeypatch.undo()


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for page in PAGES:
        for target in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.M):
            assert target in targets, f"{name_of(page)}: make {target}"


@pytest.mark.parametrize("tool", [tool for tool in TOOLS if tool.suffix == ".py"], ids=name_of)
def test_every_tool_and_option_is_documented(tool):
    page = (ROOT / "docs/tools.md").read_text(encoding="utf-8")
    section = re.search(rf"^## tools/{tool.name}\n(.*?)(?=^## |\Z)", page, re.M | re.S)
    assert section, f"docs/tools.md has no section on {tool.name}"
    added = re.findall(
        r'add_argument\(\s*"(--[\w-]+)"(?:, "(--[\w-]+)")?', tool.read_text(encoding="utf-8")
    )
    options = [option for names in added for option in names if option]
    missing = [option for option in options if option not in section[1]]
    assert not missing, f"docs/tools.md does not mention {missing} of {tool.name}"


def test_every_script_is_documented():
    page = (ROOT / "docs/tools.md").read_text(encoding="utf-8")
    assert all(name_of(tool) in page for tool in TOOLS)


def config_blocks() -> list:
    found = [
        block
        for page in PAGES
        for block in blocks(page, "python")
        if re.search(r"^_base_ = ", block.text, re.M) and not block.note
    ]
    return [
        pytest.param(block, id=f"{name_of(block.page)}-{number}")
        for number, block in enumerate(found)
    ]


def with_bases(text: str) -> str:
    """The text of a config whose bases are found from anywhere."""
    return text.replace('"configs/', f'"{ROOT}/configs/')


@pytest.mark.parametrize("block", config_blocks())
def test_configs_in_the_docs_load(block, tmp_path, monkeypatch):
    """`load_config` refuses unknown types and keys."""
    monkeypatch.syspath_prepend(str(ROOT / "tests/plugin"))
    config = tmp_path / "shown.py"
    config.write_text(with_bases(block.text))
    if inherits_families(config) and not HAS_FAMILIES:
        pytest.skip("mmdet and mmseg are not installed")
    loaded = load_config(config)
    assert loaded.default_scope in ("mmssl", "mmdet", "mmseg")


def test_raises_message_in_configs_md():
    page = (ROOT / "docs/configs.md").read_text(encoding="utf-8")
    shown = re.search(r"^(optim_wrapper\.optimizer\.weight_decai: .*) \.\.\.$", page, re.M)[1]
    with pytest.raises(ConfigError) as caught:
        load_config(
            ROOT / "configs/care/care_resnet50_8xb128-coslr-100e_in1k.py",
            {"optim_wrapper.optimizer.weight_decai": 0.1},
        )
    assert str(caught.value).startswith(shown)


def test_equivalence_hook_order(tmp_path):
    page = (ROOT / "docs/concepts.md").read_text(encoding="utf-8")
    runner = Runner.from_cfg(toy_config(tmp_path))
    for point in ("before_train_iter", "after_train_iter", "after_train_epoch"):
        table = re.search(rf"<!-- hooks: {point} -->\n(.*?)\n\n", page, re.S)[1]
        shown = re.findall(r"^\| `(\w+)` \|", table, re.M)
        called = [
            type(hook).__name__ for hook in runner.hooks if point in hook.get_triggered_stages()
        ]
        assert called == shown, point


def test_values_tested_versions():
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    names, _, values = re.search(r"^(\| torch \|.*)\n(\|[-|]+)\n(\|.*)$", page, re.M).groups()
    pins = dict(
        line.split(";")[0].strip().split("==")
        for line in (ROOT / "requirements/constraints.txt").read_text().splitlines()
        if "==" in line and not line.startswith("#")
    )
    shown = dict(
        zip(*([cell.strip() for cell in row.strip("|").split("|")] for row in (names, values)))
    )
    assert shown == {name: pins[name] for name in shown}
    assert len(shown) == 8


def test_add_a_method_runs(tmp_path, monkeypatch):
    """The page's files, its code in order, and a training with them on sixteen drawn images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    names: dict = {}
    for block in blocks(ROOT / "docs/add_a_method.md", "python"):
        if block.note.startswith("file: "):
            (tmp_path / block.note.removeprefix("file: ")).write_text(with_bases(block.text))
        else:
            exec(compile(block.text, "docs/add_a_method.md", "exec"), names)
    assert names["momentum"] == 0.99

    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(16):
        Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(
            f"photos/{number}.png"
        )
    views = dict(
        type="MultiView",
        views=[dict(num=2, transforms=[dict(type="RandomResizedCrop", size=32)])],
    )
    config = load_config(
        "plain_byol_folder.py",
        {
            "train_dataloader.dataset.root": "photos",
            "train_dataloader.batch_size": 8,
            "train_dataloader.num_workers": 0,
            "train_dataloader.persistent_workers": False,
            "train_cfg.max_epochs": 1,
            "model.backbone.out_indices": (0,),
            "default_hooks.report.num_images": 0,
            "work_dir": "run",
            "experiment_name": str(tmp_path),
            "log_level": "WARNING",
        },
    )
    config.train_dataloader.dataset.views = views
    config.param_scheduler = None
    config.visualizer.vis_backends = [dict(type="LocalVisBackend")]
    runner = Runner.from_cfg(config)
    runner.train()
    assert int(runner.model.twin.num_updates) == 2
    assert (tmp_path / "run/epoch_1.pth").is_file()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_values_no_placeholder_is_left(page):
    """A line of one all-capitals word is where a table was to be filled in."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    left = re.findall(r"^[ \t]*([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*_?)[ \t]*$", text, re.M)
    assert not left, f"{name_of(page)} has the placeholder {left}"


def test_values_front_page_names_every_folder_of_recipes() -> None:
    front = (ROOT / "README.md").read_text(encoding="utf-8")
    folders = {path.parent.name for path in ROOT.glob("configs/*/README.md")}
    assert len(folders) > 20
    absent = {name for name in folders if f"(configs/{name}/README.md)" not in front}
    assert not absent
