"""The wheel: built, installed in a folder of its own, imported from there, its configs loaded."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

CODE = """
import sys
import mmssl
from pathlib import Path
home = Path(mmssl.__file__).resolve().parent
assert home == Path(sys.argv[1], "mmssl").resolve(), home
assert not {"torch", "mmengine", "mmcv"} & set(sys.modules)
from mmengine.config import Config
from mmssl.registry import MODELS
config = Config.fromfile(str(home / ".mim" / "configs" / "_base_" / "default_runtime.py"))
print(config.default_scope, MODELS.scope, len(list((home / ".mim" / "configs").rglob("*.py"))))
"""


@pytest.mark.integration
def test_values_wheel_holds_package_and_configs(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    # A copy, so that nothing of an earlier build gets in; the links of `mmssl/.mim` stay links.
    for name in ("mmssl", "configs", "tools", "requirements"):
        skip = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=skip)
    for name in ("setup.py", "pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)

    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build = [
        *pip,
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        str(source),
    ]
    subprocess.run(build, check=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("mmssl-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "mmssl/models/algorithms/base.py" in names
    assert {"mmssl/.mim/tools/train.py", "mmssl/.mim/model-index.yml"} <= set(names)
    assert {f"mmssl/ops/local_aggregation/{name}" for name in ("aggregation.cpp", "rows.h")} <= {
        *names
    }
    assert not [name for name in names if name.startswith(("tests/", "tools/", "configs/"))]
    assert not [name for name in names if "__pycache__" in name]
    configs = [path for path in (ROOT / "configs").rglob("*.py") if "__pycache__" not in path.parts]

    target = tmp_path / "installed"
    subprocess.run(
        [*pip, "install", "-q", "--no-deps", "--target", str(target), str(wheel)], check=True
    )
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(target)],
        env={**os.environ, "PYTHONPATH": str(target)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["mmssl", "mmssl", str(len(configs))]
