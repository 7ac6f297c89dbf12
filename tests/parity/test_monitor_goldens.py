"""Label-free measures against the authors' code and the papers' formulas."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmssl.evaluation import (
    alignment,
    alpha_req,
    effective_rank,
    feature_std,
    lidar,
    uniformity,
)
from tests.helpers.fill import image
from tests.helpers.goldens import Golden

pytestmark = pytest.mark.parity


def draw(name: str, *shape: int) -> Tensor:
    return image(f"mona/{name}", shape).double()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_monitors(dtype: torch.dtype) -> None:
    golden = Golden("baselines", "monitors_a")
    x = draw("z", 256, 20) @ draw("w", 20, 64) / 20**0.5 + 0.05 * draw("n", 256, 64)
    y = x + 0.3 * draw("m", 256, 64)
    x, y = x.to(dtype), y.to(dtype)
    golden.check("align", alignment(x, y))
    golden.check("uniform", uniformity(x, chunk=100))
    golden.check("rankme", effective_rank(x))
    golden.check("feature_std", feature_std(x))
    golden.check("alpha", alpha_req(x))
    golden.check("lidar", lidar(x.reshape(-1, 8, 64) + 0.5 * y.reshape(-1, 8, 64)))
