"""The comparison: its config, its commands, its page; no training."""

from __future__ import annotations

import json
import os
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmssl.engine.command_plan import whole_keys
from mmssl.engine.command_queue import CommandQueue
from mmssl.engine.config import load_config
from mmssl.evaluation.claims import judge
from mmssl.evaluation.comparison import (
    MEASURES,
    Comparison,
    Contestant,
    figures_of,
    slug,
)
from mmssl.evaluation.comparison_config import read_comparison
from mmssl.visualization.comparison_page import comparison_markdown, write_comparison
from mmssl.visualization.comparison_plot import plot_comparison
from mmssl.visualization.comparison_record import (
    budget_rows,
    claim_rows,
    comparison_record,
    method_rows,
    views_of,
)

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs/benchmarks/comparison/shapes.py"
TASKS = ("knn", "linear", "detect", "segment")


def job(tmp_path: Path, **changes) -> Comparison:
    config = Config.fromfile(CONFIG)
    return read_comparison(config, root=ROOT, folder=tmp_path / "work", changes=changes)


@pytest.mark.parametrize("name", ["shapes", "demo"])
def test_values_every_contestant_is_a_leaf_with_its_hook_first(tmp_path: Path, name: str) -> None:
    """The folders of the k-NN monitor are set by its place among the hooks."""
    config = Config.fromfile(CONFIG.with_name(f"{name}.py"))
    found = read_comparison(config, root=ROOT, folder=tmp_path / "work", changes={})
    assert len(found.contestants) == 3 if name == "demo" else len(found.contestants) > 20
    for name, contestant in found.contestants.items():
        config = load_config(ROOT / contestant.config)
        if contestant.trains:
            assert config.custom_hooks[0]["type"] == "KNNHook", name
            assert config.train_dataloader.dataset.root == "data/shapes/unlabelled", name
    for leaf in (found.detector, found.segmentor, found.selection):
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
    assert "--amp" not in words
    half = job(tmp_path, amp=True).commands(["PIC"], [3], tasks=[])[-1]
    assert half.name == "pretrain PIC s3" and "--amp" in half.words()
    assert f"train_dataloader.dataset.root={tmp_path / 'shapes' / 'unlabelled'}" in words
    probe = [str(word) for word in commands["probe untrained s3"].words()]
    assert probe[:3] == ["tools/test.py", found.contestants["untrained"].config, "none"]
    start = [*found.commands(["untrained, Swin"], [3], tasks=TASKS)]
    assert [c.name.split()[0] for c in start] == ["draw", "probe", "correspondence"]
    words = [str(word) for word in start[-1].words()]
    assert words[1] == "none" and words[words.index("--seed") + 1] == "3"
    assert words[words.index("--config") + 1] == found.contestants["DINO, Swin"].config
    alone = {c.name for c in found.commands(["BYOL"], [0], tasks=["knn"])}
    assert alone == {"draw", "pretrain BYOL s0", "probe BYOL s0"}
    assert commands["pretrain BYOL s3"].folder == found.run_folder("BYOL", 3)


@pytest.mark.parametrize(
    ("changes", "kinds"),
    [
        (dict(epochs=2), {"pretrain"}),
        (dict(amp=True), {"pretrain"}),
        (dict(images=99), {"draw"}),
        (dict(data=Path("elsewhere")), set()),  # the same images
        (dict(size=32), {"probe", "correspondence"}),
        (dict(labels=7), {"detect", "segment"}),
        (dict(iters=7), {"detect", "segment"}),
    ],
)
def test_values_another_budget_is_another_result(tmp_path: Path, changes, kinds) -> None:
    """What a command depends on is in its key, or in that of a command before it."""
    names = ["untrained", "HCSC", "EsViT, Swin"]
    before, after = (
        {c.name: c.key for c in job(tmp_path, **each).commands(names, [0], tasks=TASKS)}
        for each in ({}, changes)
    )
    assert before.keys() == after.keys()
    data = job(tmp_path, **changes).data
    for folder in (tmp_path / "other", data / "compare", Path(f"{data}_work"), data.parent):
        elsewhere = replace(job(tmp_path, **changes), folder=folder)
        assert {c.name: c.key for c in elsewhere.commands(names, [0], tasks=TASKS)} == after
    differ = {name for name in before if before[name] != after[name]}
    assert differ == {name for name in before if name.split()[0] in kinds}


@pytest.mark.parametrize("kind", ["pretrain", "detect", "segment"])
def test_raises_for_a_training_that_was_told_to_end(tmp_path: Path, kind: str) -> None:
    """SIGTERM ends a training with a checkpoint and without an error; half a training is no result."""
    found = job(tmp_path)
    (command,) = (
        c for c in found.commands(["BYOL"], [0], tasks=["detect", "segment"]) if kind in c.name
    )
    folder = found.folder / ("byol_s0" if kind == "pretrain" else f"{kind}_byol_s0")
    scalars = folder / "20260101" / "vis_data" / "scalars.json"
    scalars.parent.mkdir(parents=True)
    scalars.write_text('{"loss": 1.0}\n')
    (folder / "last_checkpoint").write_text(str(folder / "step.pth"))
    meta = dict(iter=3, max_iters=5)
    torch.save(dict(meta=meta, state_dict={}), folder / "step.pth")
    with pytest.raises(ValueError, match="is of iteration 3 of 5: the training was told to end"):
        command.read()
    torch.save(dict(meta=meta | dict(iter=5), state_dict={}), folder / "step.pth")
    if kind == "pretrain":
        scalars.write_text('{"knn/top1": 10.0, "step": 0}\n')
        assert command.read() == {}  # no course: measured before the first step only
        lines = [{"knn/top1": 10.0, "step": 0}, {"knn/top1": 30.0, "step": 2}]
        scalars.write_text("\n".join(map(json.dumps, [*lines, {"knn/top1": 40.0, "step": 4}])))
    if kind == "segment":  # a detector without a box has no AP, a segmentor always a figure
        with pytest.raises(ValueError, match="has no mIoU"):
            command.read()
        scalars.write_text('{"mIoU": 7.5}\n')
    assert (
        command.read()
        == dict(
            pretrain={"knn at 0 %": 10.0, "knn at 50 %": 30.0, "knn at 100 %": 40.0},
            detect=dict(detect=0.0, detect50=0.0),
            segment=dict(segment=7.5),
        )[kind]
    )


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
    missing = figures_of(results(range(2)), names, range(3))
    assert {row[0]: row[1] for row in method_rows(missing)}["CARE"] == "40.5 +- 0.7 (2 of 3)"
    (care, *_) = claim_rows(found.claims, missing)
    assert care[3:] == ["+5.0 +- 0.0 of 2 seeds", "holds"]
    (care, *_) = claim_rows(found.claims, figures_of(results(range(1)), names, range(3)))
    assert care[3:] == ["+5.0 of one seed", "one seed decides nothing"]
    words = [row[-1] for row in claim_rows(found.claims, figures)]
    assert words[0] == "holds" and words[2] == "holds"
    assert set(words[1:2] + words[3:]) == {"not measured"}
    assert [judge(claim, figures).word for claim in found.claims] == words
    record = comparison_record(
        found,
        figures,
        range(3),
        results={
            "pretrain CARE s0": {"seconds": 7200.0, "knn at 0 %": 10.0, "knn at 50 %": 30.0},
            "pretrain CARE s1": {"seconds": 0.0, "knn at 0 %": 11.0, "knn at 50 %": 33.0},
            "pretrain HCSC s1": {"seconds": 0.0},
        },
        commands={},
        cores=2,
        code="state",
        failed={"detect PixPro s0": "a\nbad end"},
        note="Of two states of the code.",
    )
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["curves"] == [dict(name="CARE", x=[0.0, 50.0], y=[10.5, 31.5])]
    html = write_comparison(record, found.folder / "report.html").read_text()
    for text in (html, comparison_markdown(record)):
        for part in ("41.0 +- 1.0", "holds", "not measured", "2.0 hours", "bad end", "HCSC (arXiv"):
            assert part in text, part
        for part in ("twice the epochs", "A dash: not measured", "Of two states of the code."):
            assert part in text, part
    assert "% of pretraining" in html
    plot_comparison(record, tmp_path / "figures.png")
    assert Image.open(tmp_path / "figures.png").width > 300
    with pytest.raises(ValueError, match="no figure to draw"):
        plot_comparison(record | dict(figures={}), tmp_path / "none.png")


def test_values_views_and_epochs_that_contestants_get(tmp_path: Path) -> None:
    """Equal in views of images but for what adds small or strong ones; PIC has one and twice the epochs."""
    found = job(tmp_path, epochs=2, images=10)
    minutes = {"pretrain PIC s0": dict(seconds=60.0), "pretrain PIC s1": dict(seconds=180.0)}
    rows = budget_rows(found, list(found.contestants), [0, 1], minutes)
    table = {row[0]: row[1:] for row in rows}
    assert "untrained" not in table and views_of(found, "untrained") is None
    assert table["PIC"] == ["4", "1", "40", 2.0]
    assert table["BYOL"] == ["2", "2", "40", None]
    assert table["EsViT, Swin"] == ["2", "2 + 4", "120", None]
    assert all(int(row[2]) >= 40 for row in table.values())
    odd = Contestant(
        found.contestants["BYOL"].config, ["train_dataloader.dataset.views.views.0.num=3"]
    )
    assert views_of(replace(found, contestants=dict(odd=odd)), "odd") == [3]


def test_raises_for_what_describes_no_comparison(tmp_path: Path) -> None:
    def read(**changes) -> None:
        config = Config.fromfile(CONFIG)
        config.merge_from_dict(changes)
        read_comparison(config, root=ROOT, folder=tmp_path, changes={})

    with pytest.raises(ValueError, match="describes no comparison.*epoch_number"):
        read(**{"budget.epoch_number": 3})
    with pytest.raises(ValueError, match=r"is about 'knn' of 'Nobody'"):
        read(claims=[dict(text="t", source="s", better=("Nobody", "knn"), worse=("PIC", "knn"))])
    with pytest.raises(ValueError, match="'negative'"):
        read(**{"contestants.BYOL.extra": "negative"})
    with pytest.raises(ValueError, match="'BYOL' and 'byol!' would share the folder 'byol'"):
        read(contestants={"byol!": dict(config="")})
    with pytest.raises(ValueError, match="is not trained: it can have neither options"):
        read(**{"contestants.untrained.options": ["model.backbone.depth=50"]})
    assert slug("ViT-S/16, MoCo v3") == "vit-s-16-moco-v3"
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
    with pytest.raises(SystemExit):
        run(str(CONFIG.with_name("other.py")), "--page")
    assert not (tmp_path / "work").exists()
    for text in ("[]", "{}", "nothing", '{"commands": []}', '{"commands": {"draw": 1}}'):
        (tmp_path / "record.json").write_text(text)
        with pytest.raises(SystemExit, match=r"record\.json is no record of a comparison"):
            run("--start-from", str(tmp_path / "record.json"))


def test_values_tool_records_what_can_be_quoted(tmp_path: Path, monkeypatch, capsys) -> None:
    """Figures, verdicts, budget and code, in JSON that every reader takes; what failed ends with status 1."""

    def run(queue: CommandQueue, commands, known) -> None:
        queue.results = results(range(1)) | {"detect CARE s0": dict(detect=9.0)}
        keys = whole_keys(commands, {})
        queue._keys = {name: keys.get(name, "older") for name in queue.results}
        queue.made_by = dict.fromkeys(queue.results, "older code")
        queue.failed = {"segment CARE s0": "a\nbad end"}
        for result in queue.results.values():
            result["seconds"] = 1.0

    monkeypatch.setattr(CommandQueue, "run", run)
    own = tmp_path / "own.py"
    own.write_text(f"_base_ = {str(CONFIG)!r}\n")
    monkeypatch.chdir(tmp_path)
    words = ["own.py", "--methods", "CARE", "CARE, C-stream alone", "--seeds", "0"]
    work = tmp_path / "work"
    arguments = ["compare.py", *words, "--tasks", "knn", "--epochs", "2", "--work-dir", str(work)]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit, match="1 commands failed: segment CARE s0"):
        runpy.run_path(str(ROOT / "tools/compare.py"), run_name="__main__")
    record = json.loads((work / "comparison.json").read_text(), parse_constant=pytest.fail)
    # that of another key is left out
    assert record["figures"]["CARE"]["linear"] == [50.0]
    assert record["figures"]["CARE"]["detect"] == [None]
    assert record["claims"][0]["verdict"] == "one seed decides nothing"
    assert record["claims"][0]["differences"] == [5.0]
    assert record["budget"]["epochs"] == 2 and record["failed"]
    assert record["commands"]["probe CARE s0"]["found"] == dict(knn=40.0, linear=50.0, seconds=1.0)
    assert "another state of the code" in record["note"] and len(record["code"]) == 16
    out = capsys.readouterr().out
    assert "one seed decides nothing: A Transformer stream" in out and record["note"] in out
    assert os.path.samefile(out.strip().rsplit(" ", 1)[-1], work / "report.html")


def test_values_of_another_number_of_images(tmp_path: Path) -> None:
    """Recipes with a row per image learn how many there are."""
    found = job(tmp_path)
    found = replace(found, budget=replace(found.budget, images=64))
    for name, option in {"PIC": "model.head.num_instances", "NPID": "model.num_samples"}.items():
        (command,) = (
            c for c in found.commands([name], [0], tasks=[]) if c.name.startswith("pretrain")
        )
        assert f"{option}=64" in command.words()
    counted = {name for name, one in found.contestants.items() if one.samples}
    for name, one in found.contestants.items():
        if one.config:
            model = str(load_config(ROOT / one.config).model.to_dict())
            assert ("4000" in model) == (name in counted), name


def test_state_page_of_the_documentation(tmp_path: Path, monkeypatch, capsys) -> None:
    """`--page` shows everybody, measured or not; `--start-from` its record makes the same page again."""

    def run(queue: CommandQueue, commands, known) -> None:
        queue.results |= (
            {name: one | dict(seconds=36.0) for name, one in results(range(2)).items()}
            | {"draw": dict(seconds=1.0)}
            if not queue.foreign
            else {}
        )
        keys = whole_keys(known, {})
        queue._keys |= {name: keys[name] for name in queue.results if name in keys}
        queue.results = {name: one for name, one in queue.results.items() if name in keys}
        queue.made_by |= {name: queue.made_by.get(name, queue.code) for name in queue.results}

    monkeypatch.setattr(CommandQueue, "run", run)
    tool = runpy.run_path(str(ROOT / "tools/compare.py"))
    page, picture = tmp_path / "comparison.md", tmp_path / "comparison.png"
    tool["main"].__globals__.update(PAGE=page, PICTURE=picture)
    words = ["--methods", "CARE", "CARE, C-stream alone", "--seeds", "0", "1", "--page"]
    pages = []
    for number, more in enumerate(([], ["--start-from", str(page.with_suffix(".json"))])):
        folder = ["--work-dir", str(tmp_path / f"work{number}")]
        monkeypatch.setattr(sys, "argv", ["compare.py", *words, *more, *folder])
        tool["main"]()
        pages.append(page.read_text())
        assert Image.open(picture).width > 300
    first, second = pages
    for text in ("| CARE | 40.5 +- 0.7 | 50.5 +- 0.7 | - |", "| PixPro | - |", "| holds |"):
        assert text in first, text
    assert "MoCo v2, CoTNet-50 |" not in first
    assert "5 results were taken over, with their times." in second
    assert "5 of 5 results of" in capsys.readouterr().out
    assert second.replace(" 5 results were taken over, with their times.", "") == first
    record = json.loads(page.with_suffix(".json").read_text())
    assert comparison_markdown(record) == second and str(tmp_path) not in json.dumps(record)


def test_values_published_page_is_that_of_its_record() -> None:
    record = json.loads((ROOT / "docs/comparison.json").read_text(encoding="utf-8"))
    text = (ROOT / "docs/comparison.md").read_text(encoding="utf-8")
    assert comparison_markdown(record) == text, "run tools/compare.py --page"
    assert set(record["figures"]) <= set(Config.fromfile(CONFIG).contestants)
