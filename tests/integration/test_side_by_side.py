"""A step's figures against counts by hand, the tool, and the page it writes."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmssl.engine.config import load_config
from mmssl.evaluation.training_step import TrainingStep, training_step
from mmssl.registry import MODELS

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]
_SPEC = importlib.util.spec_from_file_location("side_by_side", ROOT / "tools/side_by_side.py")
assert _SPEC is not None and _SPEC.loader is not None
tool = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(tool)
MOCO = ROOT / "configs/moco/mocov2_resnet18_1xb32-coslr-4e_shapes.py"
SIMSIAM = ROOT / "configs/simsiam/simsiam_resnet18_1xb32-coslr-4e_shapes.py"
DINO = ROOT / "configs/dino/dino_swin-shapes_1xb32-coslr-4e_shapes.py"
SWAV = ROOT / "configs/swav/swav_resnet18_1xb32-coslr-4e_shapes.py"
NETWORKS = ("attention_plugins", "cotnet", "lrnet", "benchmarks")  # folders of no method


@pytest.fixture(scope="module")
def moco() -> TrainingStep:
    return training_step(load_config(MOCO))


def multiplications(model: nn.Module, images: torch.Tensor) -> tuple[list[int], list[int]]:
    """Of each convolution and linear layer in a forward pass, first those of the backbone."""
    counts: tuple[list[int], list[int]] = ([], [])

    def count(module, inputs, output):
        positions = output.numel() // module.weight.shape[0]
        counts[isinstance(module, nn.Linear)].append(positions * module.weight.numel())

    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(count)
    model.eval()
    maps = model.backbone(images)
    model.neck(maps[-1].mean((2, 3)))
    return counts


def test_values_flops_are_those_of_its_layers(moco: TrainingStep) -> None:
    """Forward, two backward products and the twin's forward; images and keys get no gradient."""
    config = load_config(MOCO)
    model = MODELS.build(config.model)
    (side,) = moco.views
    convolutions, linears = multiplications(model, torch.zeros(1, 3, side, side))
    layers = 4 * sum(convolutions) - convolutions[0] + 4 * sum(linears)
    length, width = config.model.queue_length, model.neck.out_channels
    positives = 4 * width  # at most: their products may be sums, which nobody counts
    assert moco.flops == pytest.approx(2 * (layers + 2 * length * width), abs=2 * positives)


def test_values_what_moco_keeps_and_remembers(moco: TrainingStep) -> None:
    config = load_config(MOCO)
    assert moco.views == moco.twin_views == {64: 1.0}
    assert moco.twin == moco.trained > moco.backbone
    assert moco.twin_momentum == (config.model.momentum,) * 2
    assert list(moco.memories.values()) == [(config.model.queue_length, moco.parts["neck"][-1])]
    weights = 4 * (3 * moco.trained + moco.twin)  # AdamW has two moments of each
    queue = 4 * config.model.queue_length * moco.parts["neck"][-1]
    assert weights + queue < moco.state < 1.01 * (weights + queue)  # BatchNorm's statistics


def test_values_kept_bytes_grow_with_images_and_size(moco: TrainingStep) -> None:
    config = load_config(MOCO)
    assert training_step(config, images=4).kept == pytest.approx(moco.kept, rel=0.01)
    for view in config.train_dataloader.dataset.views.views:
        view.transforms[0].size = 128
    assert training_step(config).kept == pytest.approx(4 * moco.kept, rel=0.25)


def test_values_methods_without_a_twin_and_with_small_views() -> None:
    simsiam = training_step(load_config(SIMSIAM))
    assert (simsiam.twin, simsiam.twin_views, simsiam.twin_momentum) == (0, {}, ())
    assert simsiam.views == {64: 2.0} and not simsiam.memories
    assert list(simsiam.parts) == ["neck", "head"]
    config = load_config(SWAV)
    views = config.train_dataloader.dataset.views.views
    views.append(dict(views[0], num=3, transforms=[dict(views[0].transforms[0], size=32)]))
    swav = training_step(config)
    assert swav.views == {64: 2.0, 32: 3.0} and list(swav.parts) == ["neck", "head"]


def test_values_layers_that_are_not_called_and_views_that_enter_elsewhere() -> None:
    """DINO's prototypes are used by their weight; a ViT takes images at a method of its own."""
    config = load_config(DINO)
    config.model.backbone = dict(
        type="VisionTransformer",
        embed_dims=24,
        depth=2,
        num_heads=2,
        patch_size=16,
        pretrain_img_size=64,
        out_indices=(1,),
    )
    dino = training_step(config)
    assert dino.views == {64: 2.0, 32: 4.0} and dino.twin_views == {64: 2.0}
    assert dino.parts["head"][-1] == config.model.head.out_channels


def test_raises_what_is_no_method() -> None:
    config = load_config(MOCO)
    with pytest.raises(ValueError, match="at least two images"):
        training_step(config, images=1)
    config.model = dict(type="ResNet", depth=18)
    with pytest.raises(ValueError, match="ResNet is no self-supervised method"):
        training_step(config)


def run(monkeypatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["side_by_side.py", *map(str, words)])
    tool.main()


def test_values_the_tool_prints_both_tables(monkeypatch, capsys) -> None:
    run(monkeypatch, MOCO, SIMSIAM)
    steps, settings = capsys.readouterr().out.strip().split("\n\n")
    assert "GFLOPs per image" in steps and "model.queue_length" in settings
    assert "train_cfg.max_epochs" not in settings


def test_values_one_recipe_shows_all_its_settings(monkeypatch, capsys) -> None:
    run(monkeypatch, MOCO, "--settings-only")
    assert "model.queue_length  1024" in re.sub(r" {2,}", "  ", capsys.readouterr().out)


def test_values_a_classifier_has_labels() -> None:
    config = load_config(ROOT / "configs/cotnet/cotnet50_1xb32-coslr-10e_shapes.py")
    config.model.backbone = dict(type="ResNet", depth=18, out_indices=(3,))
    assert training_step(config).parts["head"][-1] == config.model.head.num_classes


def test_values_the_tool_writes_markdown(monkeypatch, tmp_path: Path) -> None:
    out = tmp_path / "tables.md"
    run(monkeypatch, MOCO, SIMSIAM, "--settings-only", "--all", "--out", out)
    lines = out.read_text().splitlines()
    assert lines[0] == f"| settings | {MOCO.stem} | {SIMSIAM.stem} |"
    assert "| train_cfg.max_epochs | 4 | 4 |" in lines


def test_raises_of_a_config_without_views(monkeypatch) -> None:
    detector = ROOT / "configs/benchmarks/shapes_detection/faster_rcnn_r18_fpn_shapes.py"
    with pytest.raises(SystemExit, match="is no pretraining config"):
        run(monkeypatch, detector)


def recipes() -> dict[str, str]:
    return Config.fromfile(tool.RECIPES)["recipes"]


def test_values_every_method_is_on_the_page() -> None:
    folders = {path.parent.name for path in (ROOT / "configs").glob("*/README.md")}
    assert {Path(path).parent.name for path in recipes().values()} == folders - set(NETWORKS)
    for language in tool.LANGUAGES.values():
        text = (tool.DOCS / language.page).read_text(encoding="utf-8")
        assert all(text.count(f"| [{name}](") == 2 for name in recipes())


def test_values_a_row_of_the_page_is_current() -> None:
    name = "MoCo v2"
    (step,), (cost,) = tool.page_rows({name: recipes()[name]})
    for language in tool.LANGUAGES.values():
        text = (tool.DOCS / language.page).read_text(encoding="utf-8")
        for row in (step, cost):
            cells = " | ".join(language.cells(list(row.values())))
            assert f"| {cells} |" in text, "run tools/side_by_side.py --page"


def figures(row: str) -> list[str]:
    return re.findall(r"\]\([^)]+\)|\d[\d.e-]*", row)


def test_values_both_languages_say_the_same() -> None:
    """All figures, names and links, row by row; a heading without a translation is an error."""
    english, chinese = (
        [line for line in (tool.DOCS / each.page).read_text("utf-8").split("\n") if "|" in line]
        for each in (tool.LANGUAGES["en"], tool.LANGUAGES["zh"])
    )
    assert len(english) == len(chinese) > 2 * len(recipes())
    for one, other in zip(english, chinese, strict=True):
        assert figures(one) == figures(other)
    with pytest.raises(KeyError):
        tool.LANGUAGES["zh"].heading("a new column")


def test_values_the_tool_speaks_chinese(monkeypatch, capsys) -> None:
    run(monkeypatch, MOCO, SIMSIAM, "--language", "zh")
    steps, settings = capsys.readouterr().out.strip().split("\n\n")
    assert "学习率" not in steps and "每张图像 GFLOPs" in steps
    assert settings.startswith("设置") and "model.queue_length" in settings


@pytest.mark.slow
def test_values_the_page_is_current(monkeypatch) -> None:
    run(monkeypatch, "--page", "--check")
