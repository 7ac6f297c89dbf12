"""The signal of views is 1 where they are equal, 0 where they have nothing in common."""

from __future__ import annotations

import re
import sys

import pytest
import torch

from mmssl.datasets.shapes import draw_shapes
from mmssl.evaluation.view_signal import view_signal
from mmssl.structures import ViewBatch
from tests.helpers.monitored import MonitoredByol
from tests.helpers.processes import start


def batch(first, second, label=None) -> dict:
    none = torch.full((len(first),), -1)
    index = torch.arange(len(first))
    return dict(inputs=ViewBatch([first, second], index, [], none if label is None else label, []))


def pictures(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 16, 16), dtype=torch.uint8, generator=generator)


@pytest.fixture
def algorithm():
    torch.manual_seed(0)
    return MonitoredByol()


def test_values_equal_and_unrelated_views(algorithm):
    equal = view_signal(algorithm, [batch(pictures(64, i), pictures(64, i)) for i in range(3)], 2)
    assert equal.num_images == 128
    assert equal.same_image == pytest.approx(1.0, abs=1e-4)
    assert equal.same_class is None
    unrelated = view_signal(algorithm, [batch(pictures(64, 1), pictures(64, 2))], 2)
    assert abs(unrelated.same_image) < 0.1
    assert abs(unrelated.other) < 0.02


def test_values_classes(algorithm):
    """Two pictures only, each of them a class: images of a class are then as alike as views."""
    two = pictures(2, 0)[torch.arange(32) % 2]
    signal = view_signal(algorithm, [batch(two, two, torch.arange(32) % 2)], 1)
    assert signal.same_class == pytest.approx(1.0, abs=1e-4)
    assert signal.other == pytest.approx(-1.0, abs=1e-4)


def test_the_algorithm_is_left_alone(algorithm):
    before = {name: value.clone() for name, value in algorithm.state_dict().items()}
    training = algorithm.backbone.training
    view_signal(algorithm, [batch(pictures(8, 1), pictures(8, 2))], 1)
    assert algorithm.backbone.training == training
    for name, value in algorithm.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_raises_without_pairs(algorithm):
    one = batch(pictures(4, 1), pictures(4, 2))
    one["inputs"] = one["inputs"]._replace(images=one["inputs"].images[:1])
    with pytest.raises(ValueError, match="needs two views"):
        view_signal(algorithm, [one], 1)
    with pytest.raises(ValueError, match="at least two images"):
        view_signal(algorithm, [batch(pictures(1, 1), pictures(1, 2))], 1)


def test_values_of_the_tool_on_shapes(tmp_path):
    counts = dict(num_classify_train=0, num_classify_val=0, num_scenes_train=0, num_scenes_val=0)
    draw_shapes(tmp_path / "shapes", num_unlabelled=64, num_workers=1, **counts)
    process = start(
        sys.executable, "tools/view_signal.py",
        "configs/byol/byol_resnet18_1xb32-coslr-3e_shapes.py", "--batches", "2", "--cfg-options",
        f"train_dataloader.dataset.root={tmp_path / 'shapes/unlabelled'}",
        log=tmp_path / "log",
    )  # fmt: skip
    assert process.wait(120) == 0, (tmp_path / "log").read_text()[-3000:]
    text = (tmp_path / "log").read_text()
    same, other = (float(value) for value in re.findall(r"images? +(-?0\.\d+)", text))
    assert same > 0.05 > abs(other)
    assert "64 images" in text and "Below" not in text
