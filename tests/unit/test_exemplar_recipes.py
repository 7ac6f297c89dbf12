"""Exemplar-CNN's recipes: the views they draw and the task they train."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from PIL import Image

from mmssl.datasets import ImageFolder
from mmssl.engine.config import load_config
from mmssl.registry import MODELS
from mmssl.structures import Progress, ViewBatch
from tests.helpers.pictures import picture
from tests.helpers.tiny import TinyBackbone, sgd, total_loss

FOLDER = Path(__file__).parents[2] / "configs" / "exemplar"
LEAVES = {path.name: load_config(path) for path in sorted(FOLDER.glob("*.py"))}


@pytest.fixture(scope="module")
def seeds(tmp_path_factory) -> Path:
    """Four images of 96 px."""
    folder = tmp_path_factory.mktemp("seeds")
    for number in range(4):
        image = Image.fromarray(np.roll(picture(), 31 * number, axis=1))
        image.resize((96, 96)).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize("leaf", LEAVES)
def test_values_two_steps_of_a_leaf_with_its_own_views(leaf: str, seeds: Path) -> None:
    """One view of an image, another in the next epoch; the loss starts at the logarithm of the classes."""
    config = LEAVES[leaf]
    init_default_scope("mmssl")
    data = ImageFolder(root=str(seeds), views=config.train_dataloader.dataset.views)
    size = 32 if "stl10" in leaf else 64
    first, again, later = (data[(epoch, 1)]["inputs"] for epoch in (0, 0, 1))
    assert len(first.images) == 1 and first.images[0].shape == (3, size, size)
    assert torch.equal(first.images[0], again.images[0])
    assert not torch.equal(first.images[0], later.images[0])
    samples = [data[(0, index)]["inputs"] for index in range(4)]
    images = torch.stack([sample.images[0] for sample in samples]).float() / 64 - 2
    views = ViewBatch([images], torch.arange(4), [], torch.full((4,), -1), [])
    torch.manual_seed(0)
    model_config = dict(config.model, backbone=TinyBackbone((3,)))
    model_config["head"] = dict(model_config["head"], num_instances=4)
    model = MODELS.build(model_config)
    model.progress = Progress(0, 2, 0, 1)
    optimizer = sgd(model.train())
    losses = []
    for _ in range(2):
        loss = total_loss(model(views, mode="loss"))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # rows of N(0, 0.01) have products of 0.1 with embeddings of length 11
    assert losses[0] == pytest.approx(np.log(4), abs=0.25) and losses[1] < losses[0]


def test_values_of_the_leaves() -> None:
    """An epoch is a transformed copy of each seed; logits are plain products."""
    for leaf, config in LEAVES.items():
        head = config.model.head
        assert (head.cosine, head.temperature) == (False, 1.0), leaf
        assert config.train_dataloader.sampler.type == "CounterSampler", leaf
        assert config.train_cfg.get("type", "EpochLoop") == "EpochLoop", leaf
    shift = [
        config.train_dataloader.dataset.views.views[0].transforms for config in LEAVES.values()
    ]
    (affine,) = (t for transforms in shift for t in transforms if "RandomAffine" in t.type)
    assert round(96 * affine.translate[0], 3) == 6.4  # a fifth of 32 px, in 96
