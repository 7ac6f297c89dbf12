"""The report that a run writes, opened in a real browser without a network."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmssl.engine.hooks import latest_checkpoint
from mmssl.engine.runner import Runner
from mmssl.visualization.run_card import read_card
from tests.helpers.runs import toy_config

pytestmark = pytest.mark.integration

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND",
]  # fmt: skip
VIEW = dict(num=2, transforms=[dict(type="RandomResizedCrop", size=8), dict(type="HorizontalFlip")])


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """24 pictures of a bright square on noise."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for index in range(24):
        pixels = rng.integers(0, 60, (48, 64, 3), dtype=np.uint8)
        top, left = rng.integers(0, 30, 2)
        pixels[top : top + 16, left : left + 16] = (240, 120, 40)
        Image.fromarray(pixels).save(folder / f"{index:02}.png")
    return folder


def run(work_dir: Path, images: Path, report: bool = True, **changes):
    hooks = {
        "default_hooks.data_time": dict(type="DataTimeHook"),
        "default_hooks.collapse": dict(type="CollapseHook", interval=2),
        "default_hooks.logger.interval": 2,
        "default_hooks.report": dict(type="ReportHook", min_seconds=0, image_size=64),
    }
    dataset = dict(
        _delete_=True,
        type="ImageFolder",
        root=str(images),
        views=dict(type="MultiView", views=[VIEW]),
    )
    config = toy_config(work_dir, **{"train_dataloader.dataset": dataset}, **hooks, **changes)
    if not report:
        del config.default_hooks["report"]
    runner = Runner.from_cfg(config)
    runner.train()
    return runner


@pytest.fixture(scope="module")
def work_dir(tmp_path_factory, images) -> Path:
    """The directory of a run of 3 epochs with a report."""
    folder = tmp_path_factory.mktemp("runs") / "tiny_run"
    run(folder, images)
    return folder


def browse(page: Path, profile: Path, *options: str) -> str:
    """What the browser prints for a page.

    Skips the test when no browser is installed.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"no browser found; one of {', '.join(BROWSERS)} is needed")
    done = subprocess.run(
        [browser, *FLAGS, f"--user-data-dir={profile}", *options, page.resolve().as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout


def test_values_page_in_a_browser(work_dir, tmp_path):
    """Title, sections and pictures are there; the script ran: it gave every chart its hover box."""
    dom = browse(work_dir / "report.html", tmp_path / "profile", "--dump-dom")
    assert "<title>tiny_run" in dom
    titles = re.findall("<h2>(.*?)</h2>", dom)
    pictures = ("What the network sees", "Where the network looks")
    for title in ("At a glance", "Curves", *pictures, "Time", "Checkpoints", "Config"):
        assert title in titles
    num_charts = dom.count('<figure class="chart">')
    assert num_charts >= 6 and dom.count('class="tip"') == num_charts
    assert "Finished: 3 of 3 epochs" in dom
    digest = read_card(work_dir)["checkpoints"][-1]["sha256"]
    assert len(digest) == 64 and digest in dom


def test_values_page_is_painted(work_dir, tmp_path):
    """The lines of the charts and the cold places of the attention maps are on the screen."""
    shot = tmp_path / "shot.png"
    browse(
        work_dir / "report.html",
        tmp_path / "profile",
        "--window-size=1100,3000",
        f"--screenshot={shot}",
    )
    pixels = np.asarray(Image.open(shot).convert("RGB")).reshape(-1, 3).astype(int)
    line_colour = np.abs(pixels - (0x2F, 0x6F, 0xDE)).sum(1) < 12
    # half of the colour map's dark blue over dark noise; nothing else on the page is like that
    cold = (pixels[:, 2] - pixels[:, 0] > 35) & (pixels[:, :2].max(1) < 60)
    assert line_colour.sum() > 300 and cold.sum() > 1000


def test_values_run_card(work_dir):
    """Seconds add up, the config is the run's, every checkpoint has a digest."""
    card = read_card(work_dir)
    assert card["state"] == "finished" and card["method"] == "ToyMethod"
    assert (card["epoch"], card["iter"], card["iters_per_epoch"]) == (3, 18, 6)
    (session,) = card["sessions"]
    assert set(session["seconds"]) >= {"start", "data", "step", "checkpoints", "finish"}
    assert 0 < card["data_wait"] < 100 and card["settings"]["seed"] == 0
    assert {"torch", "mmssl", "Python"} <= set(card["environment"]["versions"])
    files = {path.name for path in work_dir.glob("*.pth")}
    assert {row["file"] for row in card["checkpoints"]} == files
    json.dumps(card)


def test_equivalence_report_leaves_training_alone(work_dir, images, tmp_path):
    """The same run without a report ends with the same weights, bit for bit."""
    run(tmp_path / "plain", images, report=False)
    assert not (tmp_path / "plain" / "report.html").exists()
    with_report, without = (
        torch.load(latest_checkpoint(folder), weights_only=True)["state_dict"]
        for folder in (work_dir, tmp_path / "plain")
    )
    assert all(torch.equal(value, without[name]) for name, value in with_report.items())


def test_state_resumed_run_keeps_its_card(work_dir, images, tmp_path):
    """A second session; the pictures from before training are still those of the untrained network."""
    folder = tmp_path / "again"
    shutil.copytree(work_dir, folder)
    for path in (folder / "epoch_3.pth", folder / "last_checkpoint"):
        path.unlink()
    before = (folder / "report_pictures/before.npz").read_bytes()
    run(folder, images, resume=True)
    card = read_card(folder)
    assert [session["first_iter"] for session in card["sessions"]] == [0, 12]
    assert card["state"] == "finished" and "resumed 1 time" in (folder / "report.html").read_text()
    assert (folder / "report_pictures/before.npz").read_bytes() == before


def test_state_failing_report_does_not_end_the_run(images, tmp_path, monkeypatch):
    """The run finishes with its checkpoints although no report can be written."""

    def fail(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr("mmssl.engine.hooks.report_hook.write_run_report", fail)
    runner = run(tmp_path / "full", images)
    assert runner.iter == 18 and latest_checkpoint(tmp_path / "full") is not None
