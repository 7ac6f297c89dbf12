"""A third party's backbone, neck, algorithm and hook train, announced in a config or by an entry point."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from PIL import Image

from mmssl.engine.config import load_config
from mmssl.engine.hooks import latest_checkpoint
from mmssl.engine.runner import Runner
from mmssl.registry import load_plugins
from tests.helpers.processes import ROOT, train

pytestmark = pytest.mark.integration
PLUGIN = ROOT / "tests/plugin"


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(20):
        Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(
            folder / f"{number}.png"
        )
    return folder


def test_custom_imports(tmp_path, images, monkeypatch):
    monkeypatch.syspath_prepend(str(PLUGIN))
    overrides = {
        "train_dataloader.dataset.root": str(images),
        "work_dir": str(tmp_path / "run"),
        "experiment_name": str(tmp_path),
    }
    runner = Runner.from_cfg(load_config(PLUGIN / "tiny_config.py", overrides))
    before = {key: value.clone() for key, value in runner.model.state_dict().items()}
    runner.train()
    # 20 images in batches of 8, the incomplete one dropped: 16 of them per epoch, 2 epochs.
    assert runner.message_hub.get_info("num_images") == 32
    assert all(
        not torch.equal(value, before[key]) for key, value in runner.model.state_dict().items()
    )
    for name in ("TinyVICReg", "TinyNet", "MeanNeck", "CountImagesHook"):
        assert name in runner.cfg.pretty_text


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The plugin as an installed distribution with an entry point."""
    site = tmp_path / "site"
    info = site / "tiny_plugin-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mmssl.plugins]\ntiny = tiny_plugin\n")
    module = site / "tiny_plugin.py"
    module.write_text((PLUGIN / "tiny_plugin.py").read_text())
    monkeypatch.syspath_prepend(str(site))
    return module


def test_entry_point(tmp_path, images, installed):
    """`tools/train.py` knows the classes without custom_imports."""
    config = tmp_path / "config.py"
    text = (PLUGIN / "tiny_config.py").read_text().replace("../../configs", str(ROOT / "configs"))
    config.write_text("\n".join(line for line in text.splitlines() if "custom_imports" not in line))
    process = train(
        config, "--work-dir", tmp_path / "run", "--cfg-options",
        f"train_dataloader.dataset.root={images}", log=tmp_path / "log",
        path=(ROOT, installed.parent),
    )  # fmt: skip
    assert process.wait(240) == 0, (tmp_path / "log").read_text()[-3000:]
    assert latest_checkpoint(tmp_path / "run").name == "epoch_2.pth"


def test_raises_for_a_broken_plugin(installed, monkeypatch):
    installed.write_text("import a_module_that_does_not_exist\n")
    monkeypatch.delitem(sys.modules, "tiny_plugin", raising=False)
    with pytest.raises(ImportError, match="plugin 'tiny'.*a_module_that_does_not_exist"):
        load_plugins()
