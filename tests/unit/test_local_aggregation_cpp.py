"""Local aggregation by C++: strips and threads, when it is chosen, and what happens without a compiler."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from mmssl.ops import cpp_library
from mmssl.ops.local_aggregation import cpp, local_aggregation
from tests.helpers.aggregation import inputs, needs_compiler, options, results


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """Every test finds out anew what can run, and leaves nothing behind."""
    yield
    cpp_library._library_or_reason.cache_clear()
    cpp._is_available.cache_clear()


@pytest.fixture
def without_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    cpp_library._library_or_reason.cache_clear()
    cpp._is_available.cache_clear()
    monkeypatch.setattr(cpp_library, "cpp_compiler", lambda: None)


def drawn(
    height: int, width: int, channels: int, weight_channels: int, **opts: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """x, weights and a gradient of the result, for one image."""
    random = torch.Generator().manual_seed(1)
    side, step = opts["kernel_size"], opts.get("stride", 1)
    reach = 2 * opts["padding"] - opts.get("dilation", 1) * (side - 1) - 1
    out = ((height + reach) // step + 1, (width + reach) // step + 1)
    shapes = (
        (1, channels, height, width),
        (1, 1, weight_channels, side**2, *out),
        (1, channels, *out),
    )
    x, weight, grad = (torch.randn(shape, generator=random) for shape in shapes)
    return x.double(), weight.double(), grad.double()


@needs_compiler
@pytest.mark.parametrize(
    ("size", "opts"),
    [
        # 8 shares: strips of one row, of two rows, of some rows and a rest
        ((6, 4100), dict(kernel_size=3, padding=1)),
        ((7, 1500), dict(kernel_size=3, padding=1, stride=2)),
        ((13, 800), dict(kernel_size=3, padding=1, stride=3, dilation=2)),
        ((11, 900), dict(kernel_size=5, padding=4, dilation=2)),
        ((9, 1300), dict(kernel_size=2, padding=0)),
    ],
)
def test_equivalence_strips_of_rows(size: tuple[int, int], opts: dict[str, int]) -> None:
    given = drawn(*size, channels=8, weight_channels=1, **opts)
    expected = results(*given, "reference", **opts)
    found = results(*given, "cpp", **opts)
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value)


@needs_compiler
@pytest.mark.parametrize("shares", [1, 7, 8, 9, 17])
def test_equivalence_any_number_of_shares(shares: int) -> None:
    opts = dict(kernel_size=3, padding=1)
    given = drawn(5, 9, channels=2 * shares, weight_channels=2, **opts)
    expected = results(*given, "reference", **opts)
    found = results(*given, "cpp", **opts)
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value)


@needs_compiler
@pytest.mark.parametrize("width", [1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equivalence_widths_beside_those_of_vectors(width: int, dtype: torch.dtype) -> None:
    opts = dict(kernel_size=3, padding=1)
    given = [each.to(dtype) for each in drawn(3, width, channels=8, weight_channels=1, **opts)]
    exact = results(*(each.double() for each in given), "reference", **opts)
    found = results(*given, "cpp", **opts)
    for key, value in exact.items():
        eps = torch.finfo(dtype).eps
        torch.testing.assert_close(found[key].double(), value, rtol=eps, atol=1e-5)


@needs_compiler
def test_values_bfloat16_rounds_as_torch_does() -> None:
    numbers = torch.tensor([1.0, 1 + 2**-8, 1 + 3 * 2**-8, -torch.inf, torch.nan, 3.4e38, 1e-40])
    x = numbers.view(1, 1, 1, -1).bfloat16()
    weight = torch.full((1, 1, 1, 1, 1, len(numbers)), 1 + 2**-8)
    y = local_aggregation(x, weight, 1, implementation="cpp")
    torch.testing.assert_close(
        y, (x.float() * weight[0, 0]).bfloat16(), equal_nan=True, rtol=0, atol=0
    )


@needs_compiler
def test_equivalence_any_number_of_threads() -> None:
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(results(*inputs("groups", images=3), "cpp", **options("groups")))
    finally:
        torch.set_num_threads(before)
    for each in found[1:]:
        assert all(torch.equal(each[key], found[0][key]) for key in each)


@needs_compiler
def test_values_a_gradient_that_is_one_number() -> None:
    """As a sum of the result sends: no dimension has a stride."""
    x, weight, grad = inputs("plain")
    one = torch.ones((), dtype=grad.dtype).expand_as(grad)
    found = results(x, weight, one, "cpp", **options("plain"))
    expected = results(x, weight, one.contiguous(), "reference", **options("plain"))
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value)


@needs_compiler
def test_state_auto_is_cpp_where_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(
        "mmssl.ops.local_aggregation.operator.forward_cpp", lambda *_: calls.append("cpp")
    )
    monkeypatch.setattr(
        "mmssl.ops.local_aggregation.operator.forward_shifted", lambda *_: calls.append("shifted")
    )
    x, weight, _ = inputs("plain")
    for types in ((torch.float32,) * 2, (torch.bfloat16, torch.float32), (torch.float16,) * 2):
        local_aggregation(x.to(types[0]), weight.to(types[1]), **options("plain"))
    assert calls == ["cpp", "cpp", "shifted"]


def test_raises_cpp_for_other_types() -> None:
    x, weight, _ = inputs("plain", dtype=torch.float16)
    with pytest.raises(ValueError, match=r'types \(values, weights\).*float16.*use "auto"'):
        local_aggregation(x, weight, **options("plain"), implementation="cpp")


@pytest.mark.usefixtures("without_compiler")
def test_raises_cpp_without_a_compiler() -> None:
    x, weight, _ = inputs("plain")
    with pytest.raises(RuntimeError, match=r"no C\+\+ compiler for aggregation.cpp"):
        local_aggregation(x, weight, **options("plain"), implementation="cpp")


@pytest.mark.usefixtures("without_compiler")
def test_equivalence_auto_without_a_compiler_tells_it_once() -> None:
    expected = results(*inputs("plain"), "shifted", **options("plain"))
    with pytest.warns(UserWarning, match=r"shifted maps.*there is no C\+\+ compiler"):
        found = results(*inputs("plain"), "auto", **options("plain"))
    assert all(torch.equal(found[key], expected[key]) for key in found)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results(*inputs("plain"), "auto", **options("plain"))
