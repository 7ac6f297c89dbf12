"""Pixel methods in mixed precision: scaled losses, and products in all bits of float32."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from mmssl.losses import best_cells, chunked_info_nce, pixel_consistency, pixel_contrast
from mmssl.ops.propagation import propagate
from tests.helpers.scaled_step import SCALE, plain_step, scaled_step
from tests.helpers.tiny import tiny_views

METHODS = ["pixpro", "pixpro_instance", "pixpro_pyramid", "pixcontrast", "densecl"]
BOXES = tuple(tiny_views(size=3).boxes)


@pytest.mark.parametrize("name", METHODS)
def test_equivalence_scaled_loss(name: str) -> None:
    """A power of two leaves no trace: written-out backward passes are linear in what comes in."""
    plain, scaled = plain_step(name, "cpu")[1], plain_step(name, "cpu", scale=SCALE)[1]
    assert plain.any() and torch.equal(scaled / SCALE, plain)


@pytest.mark.parametrize("name", METHODS)
def test_equivalence_fp16_with_scaler(name: str) -> None:
    """Gradients behind the scaler are those without one, and of float32 up to half precision."""
    loss, found = scaled_step(name, "cpu")
    assert loss.dtype == torch.float32
    half, exact = plain_step(name, "cpu", half=True)[1], plain_step(name, "cpu")[1]
    assert (found - half).norm() < 1e-3 * half.norm()
    assert (found - exact).norm() < 0.1 * exact.norm()


def unit(*shape: int, seed: int, learns: bool = False) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator), dim=1).requires_grad_(learns)


def maps(*, seed: int, learns: bool) -> tuple[Tensor, Tensor]:
    return unit(3, 4, 2, 2, seed=seed, learns=learns), unit(
        3, 4, 2, 2, seed=seed + 1, learns=learns
    )


def pixel_loss(function: Callable) -> Tensor:
    terms = function(maps(seed=0, learns=True), maps(seed=2, learns=False), BOXES)
    return (terms.first + terms.second).sum()


PRODUCTS: dict[str, Callable[[], Tensor]] = {
    "propagate": lambda: propagate(*(unit(3, 4, 6, seed=i, learns=True) for i in (0, 1))).sum(),
    "pixel_consistency": lambda: pixel_loss(pixel_consistency),
    "pixel_contrast": lambda: pixel_loss(pixel_contrast),
    "best_cells": lambda: best_cells(unit(3, 4, 6, seed=0), unit(3, 4, 6, seed=1)),
    "chunked_info_nce": lambda: chunked_info_nce(
        *(unit(6, 4, seed=i, learns=True) for i in (0, 1)), unit(9, 4, seed=2), temperature=0.2
    ),
}


class Products(TorchDispatchMode):
    """Keeps the precision that the process allows at each matrix product."""

    def __init__(self) -> None:
        super().__init__()
        self.precisions: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.overloadpacket.__name__ in ("mm", "bmm", "addmm", "baddbmm"):
            self.precisions.append(torch.get_float32_matmul_precision())
        return function(*args, **(kwargs or {}))


@pytest.fixture
def less_precision() -> Iterator[None]:
    """A run that allows TF32."""
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision("highest")


@pytest.mark.usefixtures("less_precision")
@pytest.mark.parametrize("name", PRODUCTS)
def test_state_products_have_all_bits_of_float32(name: str) -> None:
    """Forward and backward, also where the run allows TF32; its choice is as before behind them."""
    with Products() as products:
        found = PRODUCTS[name]()
        if found.requires_grad:
            found.backward()
    assert products.precisions and set(products.precisions) == {"highest"}
    assert torch.get_float32_matmul_precision() == "high"
