"""Full float32 products under every way of asking for less."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from mmssl.ops.nearest_centroid import nearest
from mmssl.ops.precision import full_float32

CPU = torch.device("cpu")
CUDA, CUDNN = torch.backends.cuda.matmul, torch.backends.cudnn
MKLDNN = getattr(torch.backends.mkldnn, "matmul", None)
needs_new = pytest.mark.skipif(
    not hasattr(CUDA, "fp32_precision"), reason="torch < 2.9 has the old way only"
)


def new(switch: object, value: str) -> Callable[[], None]:
    return lambda: setattr(switch, "fp32_precision", value)


def old(value: str) -> Callable[[], None]:
    return lambda: torch.set_float32_matmul_precision(value)


WAYS = {
    "default": [],
    "old_high": [old("high")],
    "old_medium": [old("medium")],
    "new_cuda": [new(CUDA, "tf32")],
    "new_cpu": [new(MKLDNN, "bf16")],
    "new_everywhere": [new(torch.backends, "tf32")],
    "mixed": [old("medium"), new(CUDA, "ieee")],
    "mixed_to_lower": [old("high"), new(MKLDNN, "bf16")],
}


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    for switch in (torch.backends, CUDNN, CUDA, torch.backends.mkldnn, MKLDNN):
        if hasattr(switch, "fp32_precision"):
            switch.fp32_precision = "none"
    torch.set_float32_matmul_precision("highest")
    for switch in (CUDA, MKLDNN):
        if hasattr(switch, "fp32_precision"):
            switch.fp32_precision = "none"


def state() -> tuple[str, ...]:
    """What torch says of each switch; the old one may refuse."""
    switches = (CUDA, MKLDNN, torch.backends, CUDNN, torch.backends.mkldnn)
    try:
        precision = torch.get_float32_matmul_precision()
    except RuntimeError:
        precision = "refused"
    return (precision, *(getattr(switch, "fp32_precision", "") for switch in switches))


@pytest.mark.parametrize(
    "way",
    [pytest.param(way, marks=needs_new if "new" in way or "mixed" in way else ()) for way in WAYS],
)
def test_state_full_inside_and_restored(way) -> None:
    for setting in WAYS[way]:
        setting()
    before = state()
    with full_float32(CPU), full_float32(CPU):
        inside = state()
        with pytest.raises(KeyError), full_float32(CPU):
            raise KeyError
        assert state() == inside
    assert inside[0] == "highest"
    assert all(value in ("ieee", "") for value in inside[1:3])
    assert state() == before


@needs_new
def test_state_inherited_precision_stays_inherited() -> None:
    torch.backends.fp32_precision = "tf32"
    with full_float32(CPU):
        pass
    torch.backends.fp32_precision = "ieee"
    assert CUDA.fp32_precision == "ieee"
    assert MKLDNN is not None and MKLDNN.fp32_precision == "ieee"


@needs_new
@pytest.mark.parametrize("way", ["new_cuda", "new_cpu", "new_everywhere"])
def test_equivalence_of_search_under_the_new_way(way) -> None:
    rows = torch.randn(300, 16, generator=torch.Generator().manual_seed(0))
    expected = nearest(rows, rows[:40])
    for setting in WAYS[way]:
        setting()
    found = nearest(rows, rows[:40])
    assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])


def test_values_no_autocast_inside() -> None:
    rows = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (rows @ rows).dtype == torch.bfloat16
        with full_float32(CPU):
            assert (rows @ rows).dtype == torch.float32
