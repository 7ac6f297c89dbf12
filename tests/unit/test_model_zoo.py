"""The model zoo page is what configs and READMEs say, has every recipe, and gives each its own figures."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from mmssl.engine.config import load_config

ROOT = Path(__file__).parents[2]
_SPEC = importlib.util.spec_from_file_location("model_zoo", ROOT / "tools/model_zoo.py")
assert _SPEC is not None and _SPEC.loader is not None
zoo = importlib.util.module_from_spec(_SPEC)
sys.modules["model_zoo"] = zoo  # dataclasses look up the module of their fields' types
_SPEC.loader.exec_module(zoo)
LEAVES = sorted(
    path
    for path in (ROOT / "configs").glob("*/*.py")
    if path.parent.name not in ("_base_", "benchmarks")
)


def rows(stem: str) -> list[list[str]]:
    """Cells of all rows of the page on a recipe, without its own five."""
    page = zoo.PAGE.read_text(encoding="utf-8")
    found = re.findall(rf"^\| \[{re.escape(stem)}\]\(.*$", page, re.M)
    return [[cell.strip() for cell in line.strip("|").split("|")][5:] for line in found]


def test_values_the_page_is_what_the_tool_writes() -> None:
    assert zoo.PAGE.read_text(encoding="utf-8") == zoo.write_page(), "run tools/model_zoo.py"


@pytest.mark.parametrize("folder", zoo.method_folders(), ids=lambda path: path.name)
def test_values_readmes_have_the_settings_of_their_configs(folder: Path) -> None:
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert zoo.with_settings(folder) == text, "run tools/model_zoo.py"
    for path in folder.glob("*.py"):
        assert f"`{path.stem}`" in text.split(zoo._MARKS[0])[1], path


def test_raises_without_a_place_for_the_settings(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# A method\n")
    with pytest.raises(ValueError, match="has no <!-- settings"):
        zoo.with_settings(tmp_path)


def test_values_every_recipe_is_there_and_every_named_config_exists() -> None:
    page = zoo.PAGE.read_text(encoding="utf-8")
    for path in LEAVES:
        assert f"](../{path.relative_to(ROOT).as_posix()})" in page, path
    for link in re.findall(r"\]\(\.\./([^)#]+)", page):
        assert (ROOT / link).exists(), link
    # a name with a slip in a README would lose its figure in silence
    for readme in sorted((ROOT / "configs").glob("*/README.md")):
        leaves = [zoo.read_recipe(p) for p in LEAVES if p.parent == readme.parent]
        names = {leaf.path.name for leaf in leaves}
        for table in zoo.read_tables(readme.read_text(encoding="utf-8")) if leaves else ():
            for cell in (cell for row in table.rows for cell in row):
                for token in re.findall(r"`([\w.*-]+_\w+\.py)`", cell):
                    matched = any(zoo.fnmatchcase(name, token) for name in names)
                    assert matched or token.startswith("..."), (readme, token)


def test_values_each_recipe_has_its_own_figures() -> None:
    assert rows("byol_resnet50_32xb128-coslr-300e_in1k") == [["0.3", "1e-6", "0.99", "72.5"]]
    # columns by epochs
    assert rows("care_resnet101_8xb128-coslr-400e_in1k") == [["76.85 / 93.31"]]
    big = rows("se-cotnetd152_8xb64-coslr-350e_in1k-320px")
    assert big == [["SE-CoTNetD-152_L", "55.78", "26.5 (320)", "84.6 / 97.1"]]
    assert rows("cotnet50_8xb64-coslr-100e_in1k")[0][-1] == "79.2 / 94.5"
    assert rows("cotnet50_8xb80-coslr-350e_in1k")[0][-1] == "81.3 / 95.6"
    # wildcards, which say nothing of what has a row of its own
    assert [row[-1] for row in rows("dino_swin-small-w14_32xb16-coslr-300e_in1k")] == [
        "77.3 / 79.4"
    ]
    assert [row[-1] for row in rows("dino_resnet50_16xb64-coslr-200e_in1k_2-views")] == [
        "59.9 / 69.2"
    ]
    # names without their ending, and variants of them
    for variant in ("", "_continued"):
        name = f"esvit_resnet50_16xb64-coslr-300e_in1k{variant}"
        assert rows(name)[0][-1] == "75.7 / 71.2 (200; repository 71.3)"
    # two columns of one name
    assert rows("lrnet26_8xb64-coslr-100e_in1k")[0][:4] == ["14.7", "14.62", "2.6", "2.27 + 0.13"]
    # a recipe in two tables, and one in none
    assert len(rows("pixpro_resnet50_8xb128-coslr-100e_in1k")) == 2
    (header,) = rows("simclr_resnet50_32xb128-coslr-800e_in1k")
    assert "no figure is published" in header[0]


def test_values_what_we_measured_is_marked() -> None:
    page = zoo.PAGE.read_text(encoding="utf-8")
    section = re.search(r"^## PIC\n(.*?)^## ", page, re.M | re.S)
    assert section is not None
    measured = section[1].split("*Measured here, on Shapes.*")[1]
    assert "| PIC, 8 epochs of one crop | 28.8 +- 1.1 |" in measured
    assert "published" not in measured


@pytest.mark.parametrize("folder", sorted({path.parent.name for path in LEAVES}))
def test_values_names_say_what_the_configs_say(folder: str) -> None:
    """Epochs and batch in the page are those that a run of the config has."""
    for path in LEAVES:
        if path.parent.name != folder:
            continue
        recipe, config = zoo.read_recipe(path), load_config(path)
        assert config.train_dataloader.batch_size == int(recipe.batch.split(" x ")[1]), path
        assert config.train_cfg.max_epochs == recipe.epochs, path


def test_raises_for_names_that_tell_too_little(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not named"):
        zoo.read_recipe(tmp_path / "resnet50_in1k.py")
    with pytest.raises(ValueError, match="with data one of"):
        zoo.read_recipe(tmp_path / "moco_resnet50_8xb32-coslr-100e_places.py")
    with pytest.raises(ValueError, match="names no network"):
        zoo.read_recipe(tmp_path / "moco_hourglass_8xb32-coslr-100e_in1k.py")


def test_raises_when_the_page_is_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(zoo, "method_folders", lambda: [ROOT / "configs/npid"])
    monkeypatch.setattr(sys, "argv", ["model_zoo.py", "--check"])
    with pytest.raises(SystemExit, match="run tools"):
        zoo.main()
    assert not zoo.PAGE.exists()
    monkeypatch.setattr(sys, "argv", ["model_zoo.py"])
    zoo.main()
    monkeypatch.setattr(sys, "argv", ["model_zoo.py", "--check"])
    zoo.main()
