"""The Triton kernels of local aggregation, interpreted on the CPU.

Triton decides when it is imported whether it compiles or interprets: the tests run in a process of their own,
which the last one starts.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmssl.ops.local_aggregation.window import Window
from tests.helpers.aggregation import (
    CASES,
    golden,
    golden_cases,
    inputs,
    laid_out,
    options,
    results,
)
from tests.helpers.interpreted import Guarded, interpreted, run_interpreted
from tests.helpers.tolerance import FLOAT64

pytest.importorskip("triton")
# layouts of x, weight and the gradient of the result
MIXTURES = {
    "nchw": ("nchw", "nchw", "nchw"),
    "channels_last": ("channels_last", "channels_last", "channels_last"),
    "weights_nchw": ("channels_last", "nchw", "channels_last"),
    "maps_nchw": ("nchw", "channels_last", "nchw"),
    "strided": ("strided", "strided", "strided"),
    "grad_nchw": ("channels_last", "channels_last", "nchw"),
}


def compare(found: dict[str, Tensor], expected: dict[str, Tensor], **tolerance: float) -> None:
    for key, value in expected.items():
        torch.testing.assert_close(
            found[key], value, **tolerance, msg=lambda text: f"{key}: {text}"
        )


def mixed(tensors: tuple[Tensor, ...], mixture: str) -> tuple[Tensor, ...]:
    layouts = MIXTURES[mixture]
    return tuple(laid_out(each, layout) for each, layout in zip(tensors, layouts, strict=True))


@interpreted
@pytest.mark.parametrize("mixture", ["nchw", "channels_last"])
@pytest.mark.parametrize("name", golden_cases())
def test_values_goldens(name: str, mixture: str) -> None:
    case = golden(name)
    given = mixed((case.x, case.weight, case.grad), mixture)
    compare(results(*given, "triton", **case.options), case.expected, rtol=0, atol=1e-10)


@interpreted
@pytest.mark.parametrize(
    ("name", "mixture"),
    [
        *((name, mixture) for name in CASES for mixture in ("nchw", "channels_last")),
        *(("groups", mixture) for mixture in MIXTURES),
        ("stride", "weights_nchw"),
    ],
)
def test_equivalence_odd_shapes(name: str, mixture: str) -> None:
    expected = results(*inputs(name), "reference", **options(name))
    found = results(*mixed(inputs(name), mixture), "triton", **options(name))
    compare(found, expected, **FLOAT64)


# channels, weight channels, heads, groups, size, kernel, padding: maps of even widths
PAIRED = {
    "heads": (4, 2, 2, 1, (5, 6), (3, 3), (1, 1)),
    "groups": (12, 6, 1, 2, (3, 4), (3, 3), (1, 1)),
    "wide": (4, 2, 1, 1, (3, 8), (3, 5), (1, 2)),
    "shrinks": (4, 2, 1, 1, (4, 6), (1, 3), (0, 0)),
    "grows": (4, 2, 1, 1, (3, 2), (3, 3), (3, 4)),
    "one sided": (2, 1, 1, 1, (2, 6), (1, 3), (0, 2)),
}


def paired(name: str, width: int = 0) -> tuple[tuple[Tensor, ...], dict[str, object]]:
    """Tensors and options of a case, with another width if one is given."""
    channels, shared, heads, groups, (height, usual), kernel, padding = PAIRED[name]
    random = torch.Generator().manual_seed(0)
    window = Window(kernel, padding=padding)
    rows, columns = window.output_size(height, width or usual)
    shapes = (
        (2, channels, height, width or usual),
        (2, heads, shared, window.num_taps, rows, columns),
        (2, heads * channels, rows, columns),
    )
    given = tuple(torch.randn(each, generator=random) for each in shapes)
    return given, dict(kernel_size=kernel, padding=padding, groups=groups)


@interpreted
@pytest.mark.parametrize("name", PAIRED)
def test_equivalence_pairs_of_columns(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmssl.ops.local_aggregation import triton

    seen = []
    real = triton._columns
    monkeypatch.setattr(triton, "_columns", lambda *args: seen.append(real(*args)) or seen[-1])
    given, window = paired(name)
    exact = results(*(each.double() for each in given), "reference", **window)
    found = results(*given, "triton", **window)
    assert seen == [2, 2, 2]
    compare(found, {key: each.float() for key, each in exact.items()}, rtol=1e-5, atol=1e-5)


@interpreted
def test_values_pairs_only_where_all_rows_have_them() -> None:
    from mmssl.ops.local_aggregation.triton import _columns

    (x, weight, y), _ = paired("heads")
    window = Window((3, 3), padding=(1, 1))
    assert _columns(x, weight, y, window) == 2
    assert _columns(x, weight, y, window._replace(stride=(1, 2))) == 1
    assert _columns(x, weight, y, window._replace(dilation=(1, 2))) == 1
    assert _columns(x, laid_out(weight, "channels_last"), y, window) == 1
    # rows that begin at odd places of a wider map, and an odd width
    assert _columns(torch.zeros(2, 4, 5, 7)[..., :6], weight, y, window) == 1
    assert _columns(*paired("heads", width=5)[0], window) == 1


# more positions, weight channels and sharing channels than a program has, none a multiple of it
MANY = {
    "nchw": [dict(rows=2, positions=8), dict(rows=2, positions=4, columns=2, shares=4)],
    "channels_last": [dict(positions=8, lanes=2)],
    "weights_nchw": [dict(positions=8, lanes=4)],
}


@interpreted
@pytest.mark.parametrize("mixture", MANY)
def test_equivalence_many_programs(mixture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmssl.ops.local_aggregation import triton

    random = torch.Generator().manual_seed(0)
    width = 6 if mixture == "nchw" else 5
    shapes = ((1, 2 * 9 * 5, 3, width), (1, 1, 10, 9, 3, width), (1, 90, 3, width))
    given = tuple(torch.randn(shape, generator=random) for shape in shapes)
    window = dict(kernel_size=3, padding=1, groups=2)
    expected = results(*(each.double() for each in given), "reference", **window)
    expected = {key: each.float() for key, each in expected.items()}
    for options_ in MANY[mixture]:
        tile = triton.Tile(**(dict(rows=1, channels=4) | options_))
        monkeypatch.setattr(triton, "map_tile", lambda *_, tile=tile, **__: tile)
        monkeypatch.setattr(triton, "channel_tile", lambda *_, tile=tile, **__: tile)
        found = results(*mixed(given, mixture), "triton", **window)
        compare(found, expected, rtol=1e-5, atol=1e-5)


@interpreted
@pytest.mark.parametrize("mixture", MANY)
def test_values_of_weights_outside_do_not_count(mixture: str) -> None:
    x, weight, grad = inputs("plain", dtype=torch.float32)
    window = Window((3, 3), padding=(1, 1))
    outside = ~window.inside((x.shape[2], x.shape[3]), x.device)
    given = mixed((x, weight, grad), mixture)
    expected = results(*given, "triton", **options("plain"))
    for value in (torch.nan, torch.inf):
        spoilt = given[1].masked_fill(outside, value)
        found = results(
            given[0], laid_out(spoilt, MIXTURES[mixture][1]), given[2], "triton", **options("plain")
        )
        compare(found, expected, rtol=0, atol=0)


@interpreted
@pytest.mark.parametrize("sums", [False, True])
@pytest.mark.parametrize("columns", [1, 2])
def test_values_few_tiles_for_the_maps_of_detection(columns: int, sums: bool) -> None:
    """Those at strides of 16 and 32: each tile is a kernel to compile."""
    from mmssl.ops.local_aggregation.triton import map_tile

    tiles = {
        map_tile(height, width, 16, taps=9, columns=columns, sums=sums)
        for height in range(15, 43)
        for width in range(16, 43, 2)
    }
    assert len(tiles) == 2


@interpreted
@pytest.mark.parametrize("mixture", ["nchw", "channels_last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_values_precision(dtype: torch.dtype, mixture: str) -> None:
    rounded = inputs("plain", dtype=dtype)
    exact = results(*(each.double() for each in rounded), "reference", **options("plain"))
    found = results(*mixed(rounded, mixture), "triton", **options("plain"))
    for key, value in exact.items():
        assert found[key].dtype == dtype
        error = (found[key].double() - value).abs().max() / value.abs().max()
        assert error < max(torch.finfo(dtype).eps, 1e-6)


@interpreted
@pytest.mark.parametrize("mixture", ["nchw", "channels_last", "weights_nchw"])
def test_values_half_maps_and_full_weights(mixture: str) -> None:
    x, weight, grad = inputs("groups", dtype=torch.float32)
    x, grad = x.bfloat16(), grad.bfloat16()
    found = results(*mixed((x, weight, grad), mixture), "triton", **options("groups"))
    exact = results(x.float(), weight, grad.float(), "reference", **options("groups"))
    assert [found[key].dtype for key in ("y", "gx", "gw")] == [x.dtype, x.dtype, weight.dtype]
    torch.testing.assert_close(found["gw"], exact["gw"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found["gx"].float(), exact["gx"], rtol=8e-3, atol=1e-5)
    torch.testing.assert_close(found["y"].float(), exact["y"], rtol=8e-3, atol=1e-5)


@interpreted
@pytest.mark.parametrize("mixture", ["nchw", "channels_last"])
def test_equivalence_wide_offsets(mixture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = results(*inputs("groups"), "reference", **options("groups"))
    monkeypatch.setattr("mmssl.ops.local_aggregation.triton.MAX_OFFSET", 10)
    found = results(*mixed(inputs("groups"), mixture), "triton", **options("groups"))
    compare(found, expected, **FLOAT64)


@interpreted
def test_values_when_offsets_are_wide() -> None:
    from mmssl.ops.local_aggregation.triton import reaches_far

    # nothing is allocated: 2^31 elements within an image, and one less
    image = torch.empty(1, 2, 2**15, 2**15, device="meta")
    assert not reaches_far(image)
    assert reaches_far(image, image.new_empty(1, 2, 2**15, 2**15 + 1))
    # many small images are found with 64 bits anyway
    assert not reaches_far(torch.empty(2**20, 8, 32, 32, device="meta"))


@interpreted
@pytest.mark.parametrize("name", ["dilation", "stride"])
@pytest.mark.parametrize("mixture", ["nchw", "channels_last"])
def test_values_nothing_is_left_unwritten_or_reads_or_writes_outside(
    mixture: str, name: str
) -> None:
    """Results are exact where all memory but the inputs holds NaN, which stays around results."""
    from mmssl.ops.local_aggregation.triton import backward_triton, forward_triton

    tensors = mixed(inputs(name), mixture)
    x, weight, grad = (Guarded(each, copy=True).tensor for each in tensors)
    # the result has the layout of its gradient
    y, gx, gw = (Guarded(each, copy=False) for each in (tensors[2], *tensors[:2]))
    *pairs, groups = options(name).values()
    window = Window(*(each if isinstance(each, tuple) else (each, each) for each in pairs))
    forward_triton(x, weight, window, groups, y.tensor)
    backward_triton(grad, x, weight, window, groups, gx.tensor, gw.tensor)
    assert all(each.is_untouched_around() for each in (y, gx, gw))
    expected = results(*inputs(name), "reference", **options(name))
    compare(dict(y=y.tensor, gx=gx.tensor, gw=gw.tensor), expected, **FLOAT64)


@interpreted
def test_shapes_empty_batch() -> None:
    found = results(*inputs("plain", images=0), "triton", **options("plain"))
    assert found["y"].shape == (0, 8, 5, 4)
    assert found["gw"].shape == (0, 1, 2, 9, 5, 4)


@pytest.mark.parametrize("mixture", ["nchw", "channels_last"])
def test_values_a_case_interpreted(mixture: str) -> None:
    name = test_values_nothing_is_left_unwritten_or_reads_or_writes_outside.__name__
    run_interpreted(f"{__file__}::{name}[{mixture}-stride]")


@pytest.mark.slow
def test_values_interpreted() -> None:
    """All of the above, in a process where Triton interprets."""
    run_interpreted(__file__)
