"""The comparison: its config, its commands, its page; no training."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from mmssl.engine.command_queue import CommandQueue
from mmssl.engine.config import load_config
from mmssl.evaluation.claims import judge
from mmssl.evaluation.comparison import MEASURES, Comparison, figures_of, read_comparison
from mmssl.visualization.comparison_page import claim_rows, method_rows, write_comparison

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs/benchmarks/comparison/shapes.py"
TASKS = ("knn", "linear", "detect", "segment")


def job(tmp_path: Path, **changes) -> Comparison:
    config = Config.fromfile(CONFIG)
    return read_comparison(config, root=ROOT, folder=tmp_path / "work", changes=changes)


def test_values_every_contestant_is_a_leaf_with_its_hook_first(tmp_path: Path) -> None:
    """The folders of the k-NN monitor are set by its place among the hooks."""
    found = job(tmp_path)
    assert len(found.contestants) > 20
    for name, contestant in found.contestants.items():
        if contestant.config:
            config = load_config(ROOT / contestant.config)
            assert config.custom_hooks[0]["type"] == "KNNHook", name
            assert config.train_dataloader.dataset.root == "data/shapes/unlabelled", name
    for leaf in (found.untrained, found.detector, found.segmentor, found.selection):
        assert (ROOT / leaf).is_file()


def test_values_commands_of_one_seed(tmp_path: Path) -> None:
    found = job(tmp_path, epochs=1, labels=5, iters=2, data=tmp_path / "shapes")
    names = ["untrained", "BYOL", "HCSC", "DINO, Swin", "PIC"]
    commands = {c.name: c for c in found.commands(names, [3], tasks=TASKS)}
    assert commands["detect untrained s3"].after == ["draw"]
    assert commands["detect BYOL s3"].after == ["export BYOL s3 to mmdet"]
    assert commands["export BYOL s3 to mmdet"].after == ["pretrain BYOL s3"]
    assert "negatives HCSC s3" in commands and "correspondence DINO, Swin s3" in commands
    assert "detect DINO, Swin s3" not in commands and "pretrain untrained s3" not in commands
    words = [str(word) for word in commands["pretrain PIC s3"].words()]
    assert "train_cfg.max_epochs=2" in words and "randomness.seed=3" in words
    assert f"train_dataloader.dataset.root={tmp_path / 'shapes' / 'unlabelled'}" in words
    probe = [str(word) for word in commands["probe untrained s3"].words()]
    assert probe[:3] == ["tools/test.py", found.untrained, "none"]
    alone = {c.name for c in found.commands(["BYOL"], [0], tasks=["knn"])}
    assert alone == {"draw", "pretrain BYOL s0", "probe BYOL s0"}
    # another budget is another result
    longer = {c.name: c for c in job(tmp_path, epochs=2).commands(names, [3], tasks=TASKS)}
    assert longer["pretrain BYOL s3"].key != commands["pretrain BYOL s3"].key


def results(seeds: range) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for seed in seeds:
        found[f"probe CARE s{seed}"] = dict(knn=40.0 + seed, linear=50.0 + seed)
        found[f"probe CARE, C-stream alone s{seed}"] = dict(knn=39.0, linear=45.0 + seed)
        found[f"negatives HCSC s{seed}"] = dict(false_removed=10.0, true_removed=2.0 + seed / 9)
    return found


def test_values_table_verdicts_and_page(tmp_path: Path) -> None:
    found, names = job(tmp_path), ["CARE", "CARE, C-stream alone", "HCSC", "PixPro"]
    figures = figures_of(results(range(3)), names, range(3))
    assert figures["CARE"]["knn"] == [40.0, 41.0, 42.0]
    rows = {row[0]: row[1:] for row in method_rows(figures)}
    assert rows["CARE"][:3] == ["41.0 +- 1.0", "51.0 +- 1.0", None]
    assert rows["PixPro"] == [None] * len(MEASURES)
    words = [row[-1] for row in claim_rows(found.claims, figures)]
    assert words[0] == "holds" and words[2] == "holds"
    assert set(words[1:2] + words[3:]) == {"not measured"}
    assert [judge(claim, figures).word for claim in found.claims] == words
    page = write_comparison(
        found, figures, range(3), seconds=7200.0, cores=2, failed={"detect PixPro s0": "a\nbad end"}
    )
    text = page.read_text()
    for part in ("41.0 +- 1.0", "holds", "not measured", "2.0 hours", "bad end", "HCSC (arXiv"):
        assert part in text, part


def test_raises_for_what_describes_no_comparison(tmp_path: Path) -> None:
    def read(**changes) -> None:
        config = Config.fromfile(CONFIG)
        config.merge_from_dict(changes)
        read_comparison(config, root=ROOT, folder=tmp_path, changes={})

    with pytest.raises(ValueError, match="describes no comparison.*epoch_number"):
        read(**{"budget.epoch_number": 3})
    with pytest.raises(ValueError, match=r"is about 'knn' of 'Nobody'"):
        read(claims=[dict(text="t", source="s", better=("Nobody", "knn"), worse=("PIC", "knn"))])
    whole = Config.fromfile(CONFIG).budget
    with pytest.raises(ValueError, match="'contestants'"):
        read_comparison(Config(dict(budget=whole)), root=ROOT, folder=tmp_path, changes={})


def test_values_tool_lists_and_refuses(tmp_path: Path, monkeypatch, capsys) -> None:
    def run(*words: str) -> str:
        arguments = ["tools/compare.py", "--work-dir", str(tmp_path / "work"), *words]
        monkeypatch.setattr(sys, "argv", arguments)
        monkeypatch.setattr(CommandQueue, "run", lambda *_: pytest.fail("nothing is to run here"))
        runpy.run_path(str(ROOT / "tools/compare.py"), run_name="__main__")
        return capsys.readouterr().out

    listed = run("--methods", "SimSiam", "--seeds", "0", "1", "--tasks", "linear", "--list")
    names = [f"{what} SimSiam s{seed}" for seed in (0, 1) for what in ("pretrain", "probe")]
    assert listed.split("\n")[:-1] == ["draw", *names]
    with pytest.raises(SystemExit, match="'SimSim' is no contestant; there are 'untrained'"):
        run("--methods", "SimSim")
    with pytest.raises(SystemExit):
        run("--epochs", "0")
    assert not (tmp_path / "work").exists()
