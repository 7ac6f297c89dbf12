"""Requirements, metadata, the set-up script and the launch scripts."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import mmssl
from mmssl.engine.config import load_config

ROOT = Path(__file__).resolve().parents[2]
# Module to distribution, where the names differ.
DISTRIBUTIONS = {
    "sklearn": "scikit-learn",
    "faiss": "faiss-cpu",
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "mmengine": "onedl-mmengine",
    "mmcv": "onedl-mmcv",
    "mmdet": "onedl-mmdetection",
    "mmseg": "onedl-mmsegmentation",
    "pycocotools": "onedl-mmdetection",
    "triton": "torch",
}


def load(path: Path) -> ModuleType:
    """A script as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def setup_env() -> ModuleType:
    """`tools/setup_env.py`."""
    return load(ROOT / "tools" / "setup_env.py")


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `setup.py` hands to setuptools."""
    setuptools = pytest.importorskip("setuptools")
    seen: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, "setup", lambda **entries: seen.update(entries))
    load(ROOT / "setup.py")
    return seen


def test_values_metadata(metadata: dict[str, Any], setup_env: ModuleType) -> None:
    assert metadata["version"] == mmssl.__version__
    assert metadata["python_requires"] == ">=3.10"
    assert metadata["install_requires"] == setup_env.requirements("runtime")
    for extra in setup_env.EXTRAS:
        assert metadata["extras_require"][extra] == setup_env.requirements(extra)
    assert {"mmssl", "mmssl.models.algorithms"} <= set(metadata["packages"])
    assert not [name for name in metadata["packages"] if not name.startswith("mmssl")]


def test_values_core_needs_no_compiler(metadata: dict[str, Any]) -> None:
    text = " ".join(metadata["install_requires"])
    assert not re.search(r"mmcv|mmdet|mmseg", text)


def test_values_every_requirement_is_pinned(setup_env: ModuleType) -> None:
    for name in ("runtime", *setup_env.EXTRAS):
        for entry in setup_env.requirements(name):
            lowest = re.search(r">=([\d.]+)", entry)
            version = setup_env.release(setup_env.pinned(setup_env.distribution(entry)))
            assert lowest is None or version >= setup_env.release(lowest.group(1)), entry


def test_values_lowest_torch(setup_env: ModuleType) -> None:
    (torch,) = [
        e for e in setup_env.requirements("runtime") if setup_env.distribution(e) == "torch"
    ]
    assert setup_env.MINIMUM_TORCH == setup_env.release(torch.partition(">=")[2])


def test_values_every_import_is_required(setup_env: ModuleType) -> None:
    files = ("runtime", "downstream", "evaluation")
    required = {setup_env.distribution(e) for name in files for e in setup_env.requirements(name)}
    missing = set()
    for path in (ROOT / "mmssl").rglob("*.py"):
        if ".mim" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names = [node.module]
            for root in {name.partition(".")[0] for name in names} - {"mmssl"}:
                if (
                    root not in sys.stdlib_module_names
                    and DISTRIBUTIONS.get(root, root) not in required
                ):
                    missing.add(f"{path.relative_to(ROOT)} imports {root}")
    assert not missing


def test_values_configs_are_in_the_package() -> None:
    inside = ROOT / "mmssl" / ".mim" / "configs"
    assert inside.resolve() == (ROOT / "configs").resolve()


def test_values_a_config_anywhere_inherits_ours_by_the_packages_name(tmp_path) -> None:
    own = tmp_path / "own.py"
    own.write_text('_base_ = "mmssl::byol/byol_resnet18_1xb32-coslr-3e_shapes.py"\n')
    assert load_config(own).model.type == "BYOL"


def test_values_no_index_is_named() -> None:
    for path in (*(ROOT / "requirements").glob("*.txt"), ROOT / "Makefile", ROOT / "setup.py"):
        assert not re.search(r"--(extra-)?index-url|--find-links", path.read_text()), path


def test_values_changelog_has_the_version() -> None:
    assert f"\n## {mmssl.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("owners", "version", "error", "expected"),
    [
        (["onedl-mmcv"], "2.3.6", "", True),
        (["onedl-mmcv"], "2.3.5", "", False),
        (["mmcv"], "2.1.0", "", True),
        (["mmcv"], "1.7.2", "", False),
        (["mmcv"], "3.0.0", "", False),
        (["mmcv"], "2.1.0", "ImportError: undefined symbol", False),
        ([], "", "ModuleNotFoundError: No module named 'mmcv'", False),
    ],
)
def test_values_accepted(
    setup_env: ModuleType, owners: list[str], version: str, error: str, expected: bool
) -> None:
    assert setup_env.pinned("onedl-mmcv") == "2.3.6"
    assert setup_env.accepted(setup_env.Module("mmcv", version, owners, error)) is expected


def test_values_wheel_key_depends_on_everything(setup_env: ModuleType) -> None:
    base = ("2.3.6", "2.11.0+cu130", "", "cpython-311-linux-x86_64-glibc2.36")
    others = ("2.3.7", "2.10.0+cu130", "13.0", "cpython-312-linux-x86_64-glibc2.36")
    keys = {setup_env.wheel_key(*base)}
    for position, other in enumerate(others):
        keys.add(setup_env.wheel_key(*base[:position], other, *base[position + 1 :]))
    assert len(keys) == 5


def test_state_stamp(setup_env: ModuleType, tmp_path: Path) -> None:
    env = setup_env.Environment(Path(sys.executable), tmp_path)
    assert setup_env.stamped(env) == set()
    env.stamp.write_text(json.dumps({"fingerprint": setup_env.fingerprint(), "extras": ["tests"]}))
    assert setup_env.stamped(env) == {"", "tests"}
    env.stamp.write_text(json.dumps({"fingerprint": "of other requirements", "extras": ["tests"]}))
    assert setup_env.stamped(env) == set()
    env.stamp.write_text("half a fi")
    assert setup_env.stamped(env) == set()


def test_values_constraints_keep_another_torch(setup_env: ModuleType, tmp_path: Path) -> None:
    env = setup_env.Environment(Path(sys.executable), tmp_path)
    flag, path = setup_env.constraints(env, {"onedl-mmengine"}, "2.9.1+cu128")
    lines = Path(path).read_text().splitlines()
    assert flag == "-c"
    assert [line for line in lines if line.startswith("torch")] == ["torch==2.9.1"]
    assert not [line for line in lines if line.startswith("onedl-mmengine")]


def test_raises_probe_reports_what_is_missing(setup_env: ModuleType, tmp_path: Path) -> None:
    env = setup_env.Environment(Path(sys.executable), tmp_path)
    found = env.probe("json", "no_such_module")
    assert found["json"].works
    assert found["no_such_module"].error == "ModuleNotFoundError: No module named 'no_such_module'"


def test_raises_failed_command_shows_its_tail(
    setup_env: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    env = setup_env.Environment(Path(sys.executable), tmp_path)
    with pytest.raises(SystemExit, match="'a step' failed after"):
        env.run([sys.executable, "-c", "print('the reason'); raise SystemExit(3)"], "a step")
    assert "the reason" in capfd.readouterr().err


def test_raises_without_compiler(setup_env: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(SystemExit, match=r"no working C\+\+17 compiler \('no-such-compiler'\)"):
        setup_env.check_compiler()


def test_raises_old_python_in_one_sentence(tmp_path: Path) -> None:
    old = tmp_path / "oldpython"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.8.1" && exit 0\nexit 1\n')
    old.chmod(0o755)
    command = ["make", "-s", "setup", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert "is not Python 3.10 or newer (Python 3.8.1)" in done.stderr.splitlines()[0]
    assert not (tmp_path / "venv").exists()


def test_values_docstring_check(tmp_path: Path) -> None:
    check = load(ROOT / "tools" / "checks" / "docstrings.py").check
    source = tmp_path / "sample.py"
    source.write_text(
        '"""Sample."""\n\n\ndef good(a: int, *, b: int) -> int:\n'
        '    """Sum.\n\n    Args:\n        a: First.\n        b: Second.\n    """\n\n\n'
        'def wrong(a: int, b: int) -> int:\n    """Sum.\n\n    Args:\n        b (int): Second.\n    """\n\n\n'
        "def bare() -> None: ...\n"
    )
    assert check(source) == [
        f"{source}:13: wrong: Args repeats the type of 'b'",
        f"{source}:13: wrong: Args has ['b'], the signature ['a', 'b']",
        f"{source}:21: bare has no docstring",
    ]
