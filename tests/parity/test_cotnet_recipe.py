"""CoTNet's supervised recipe against the authors' code: targets, rectangles, learning rate, averages."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mmssl.engine.schedulers import WarmupCosineLR
from mmssl.losses import class_cross_entropy, mixed_targets
from mmssl.models.layers.batch_mix import cut_rectangle
from mmssl.models.momentum_twin import MomentumTwin
from tests.helpers.fill import fill, image
from tests.helpers.goldens import ROOT

pytestmark = pytest.mark.parity

LABELS = torch.tensor([3, 1, 4, 1])


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(ROOT / "cotnet/recipe_cotnet50.npz") as file:
        return {name: file[name] for name in file.files}


def reversed_share(share: float, batch: int = 4) -> Tensor:
    """What `BatchMix` returns for a batch of which `share` stays."""
    same = torch.eye(batch)
    return share * same + (1 - share) * same.flip(0)


def test_values_targets(golden) -> None:
    targets = mixed_targets(LABELS, reversed_share(0.3), 10, label_smoothing=0.1)
    np.testing.assert_allclose(targets.numpy(), golden["soft_target"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_losses(golden, dtype: torch.dtype) -> None:
    logits = image("recipe_cotnet50/logits", (4, 10)).to(dtype)
    smooth = class_cross_entropy(logits, LABELS, label_smoothing=0.1)
    mixed = class_cross_entropy(logits, LABELS, label_smoothing=0.1, share=reversed_share(0.3))
    assert smooth.item() == pytest.approx(golden["ls_ce"][0], abs=1e-6)
    assert mixed.item() == pytest.approx(golden["soft_ce"][0], abs=1e-6)
    assert mixed.dtype == dtype


def test_values_rectangles(golden) -> None:
    random = np.random.RandomState(7)
    for number, share in enumerate((0.1, 0.5, 0.9)):
        centre = (int(random.randint(0, 224)), int(random.randint(0, 224)))
        rows, columns, left = cut_rectangle((224, 224), share, centre)
        found = [rows.start, rows.stop, columns.start, columns.stop]
        assert found == golden["cutmix_box"][number].tolist()
        assert left == pytest.approx(golden["cutmix_lam"][number], abs=1e-12)


def test_values_learning_rate(golden) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.25)
    schedule = WarmupCosineLR(
        optimizer, warmup=5, start_value=1e-4, eta_min=1e-5, cosine_from_start=True, end=350
    )
    found = []
    for _ in range(350):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    np.testing.assert_allclose(found, golden["lr"], atol=1e-12, rtol=0)


def test_values_averaged_weights(golden) -> None:
    """Parameters and statistics of BatchNorm after each of three updates; counters are copied."""
    owner = nn.Module()
    owner.net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    state = owner.net.state_dict()
    owner.net.load_state_dict({key: fill(key, value.shape) for key, value in state.items()})
    twin = MomentumTwin(
        owner, ["net"], momentum=0.9999, update_at="after_step", average_buffers=True
    )
    for step in range(3):
        online = {
            key: image(f"recipe_cotnet50/ema{step}/{key}", value.shape)
            if value.is_floating_point()
            else torch.tensor(step + 1)
            for key, value in state.items()
        }
        owner.net.load_state_dict(online)
        twin.update(owner, step, 3)
        averaged = twin.net.state_dict()
        found = torch.cat([v.flatten() for v in averaged.values() if v.is_floating_point()])
        np.testing.assert_allclose(found.numpy(), golden["ema"][step], atol=1e-6, rtol=0)
        assert averaged["1.num_batches_tracked"] == step + 1
