"""One step of a method on a GPU in fp16 and float32, against float32 on the CPU."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.helpers.scaled_step import plain_step, scaled_step

pytestmark = pytest.mark.gpu
METHODS = pytest.mark.parametrize(
    "name",
    [
        "barlow_twins",
        "clsa",
        "densecl",
        "moco_v3",
        "pixcontrast",
        "pixpro",
        "pixpro_instance",
        "pixpro_pyramid",
        "simsiam",
        "deepcluster_v2",
        "swav",
        "swav_queue",
    ],
)


@pytest.fixture(autouse=True)
def exact_convolutions() -> Iterator[None]:
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = allowed


@METHODS
def test_equivalence_float32_step(name: str) -> None:
    (expected, slope), (loss, found) = plain_step(name, "cpu"), plain_step(name, "cuda")
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
    assert (found - slope).norm() < 1e-3 * slope.norm()


@METHODS
def test_equivalence_fp16_step_with_scaler(name: str) -> None:
    """As `--amp fp16`: gradients behind the scaler, up to half precision, and the step is taken."""
    (expected, slope), (loss, found) = plain_step(name, "cpu"), scaled_step(name, "cuda")
    torch.testing.assert_close(loss, expected, rtol=1e-2, atol=1e-2)
    assert (found - slope).norm() < 0.1 * slope.norm()
