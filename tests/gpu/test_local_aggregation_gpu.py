"""Local aggregation on a GPU: compiled kernels against the formula, in all types and layouts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmssl.ops.local_aggregation import local_aggregation
from tests.helpers.aggregation import (
    CASES,
    golden,
    golden_cases,
    inputs,
    laid_out,
    options,
    results,
)

pytestmark = pytest.mark.gpu
LAYOUTS = ("nchw", "channels_last", "strided")
# relative to the largest value
TOLERANCES = {
    torch.float64: 1e-12,
    torch.float32: 2e-5,
    torch.float16: 1e-3,
    torch.bfloat16: 8e-3,
}


def on_device(tensors: tuple[Tensor, ...], layout: str) -> list[Tensor]:
    return [laid_out(each.cuda(), layout) for each in tensors]


def stage(
    shape: tuple[int, int, int], images: int, dtype: torch.dtype, groups: int = 1
) -> tuple[Tensor, ...]:
    """Maps of a stage of CoTNet, its weights, and a gradient."""
    channels, height, width = shape
    random = torch.Generator("cuda").manual_seed(0)
    shapes = (
        (images, channels, height, width),
        (images, 1, channels // 8, 9, height, width),
        (images, channels, height, width),
    )
    return tuple(
        torch.randn(each, generator=random, device="cuda", dtype=torch.float32).to(dtype)
        for each in shapes
    )


def check(found: dict[str, Tensor], exact: dict[str, Tensor], dtype: torch.dtype) -> None:
    for key, value in exact.items():
        error = (found[key].double() - value.double()).abs().max() / value.double().abs().max()
        assert error < TOLERANCES[dtype], f"{key}: {error:.2g}"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", golden_cases())
def test_values_goldens(name: str, layout: str) -> None:
    case = golden(name)
    given = on_device((case.x, case.weight, case.grad), layout)
    found = results(*given, "triton", **case.options)
    for key, value in case.expected.items():
        torch.testing.assert_close(found[key].cpu(), value, rtol=0, atol=1e-10)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", CASES)
def test_equivalence_odd_shapes(name: str, layout: str) -> None:
    given = on_device(inputs(name), layout)
    found = results(*given, "triton", **options(name))
    check(found, results(*given, "reference", **options(name)), torch.float64)


@pytest.mark.parametrize("layout", ["nchw", "channels_last", "weights_nchw"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("shape", "groups"),
    [
        ((64, 56, 56), 1),
        ((128, 28, 28), 1),
        ((256, 14, 14), 1),
        ((512, 7, 7), 1),
        ((96, 25, 42), 2),
    ],
)
def test_values_stages(
    shape: tuple[int, int, int], groups: int, dtype: torch.dtype, layout: str
) -> None:
    x, weight, grad = stage(shape, 3, dtype)
    if layout != "nchw":
        x, grad = laid_out(x, "channels_last"), laid_out(grad, "channels_last")
    if layout == "channels_last":
        weight = laid_out(weight, layout)
    window = dict(kernel_size=3, padding=1, groups=groups)
    found = results(x, weight, grad, "triton", **window)
    exact = results(x.double(), weight.double(), grad.double(), "reference", **window)
    assert found["y"].stride() == x.stride()
    assert found["gw"].stride() == weight.stride()
    check(found, exact, dtype)


def test_values_autocast_gives_half_maps_and_full_weights() -> None:
    x, weight, _ = stage((64, 14, 14), 2, torch.float32)
    convolution = torch.nn.Conv2d(64, 64, 1).cuda()
    norm = torch.nn.GroupNorm(8, 72).cuda()
    scores = weight.flatten(1, 3).requires_grad_()
    with torch.autocast("cuda", torch.bfloat16):
        values, weights = convolution(x), norm(scores)
        assert (values.dtype, weights.dtype) == (torch.bfloat16, torch.float32)
        weights = weights.unflatten(1, (1, 8, 9))
        y = local_aggregation(values, weights, 3, padding=1)
    y.float().square().mean().backward()
    assert y.dtype == torch.bfloat16
    expected = local_aggregation(values.float(), weights, 3, padding=1, implementation="reference")
    torch.testing.assert_close(y.float(), expected, rtol=8e-3, atol=1e-2)
    assert torch.isfinite(scores.grad).all()
    assert torch.isfinite(convolution.weight.grad).all()


@pytest.mark.parametrize("layout", ["nchw", "channels_last"])
def test_state_results_repeat_bit_by_bit(layout: str) -> None:
    given = [laid_out(each, layout) for each in stage((128, 28, 28), 8, torch.bfloat16)]
    first, second = (results(*given, "triton", kernel_size=3, padding=1) for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_state_nothing_is_allocated_but_results() -> None:
    x, weight, grad = stage((64, 56, 56), 64, torch.float32)
    x.requires_grad_(), weight.requires_grad_()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    y = local_aggregation(x, weight, 3, padding=1)
    slopes = torch.autograd.grad(y, (x, weight), grad)
    allowed = sum(each.nbytes for each in (y, *slopes)) + 2**23  # torch rounds
    assert torch.cuda.max_memory_allocated() - before <= allowed


def test_state_other_sizes_compile_nothing() -> None:
    from mmssl.ops.local_aggregation import channel_kernels, kernels

    names = ("forward_kernel", "grad_x_kernel", "grad_weight_kernel")
    found = [getattr(module, name) for module in (kernels, channel_kernels) for name in names]

    def run(height: int, width: int) -> int:
        for layout in ("nchw", "channels_last"):
            given = [
                laid_out(each, layout) for each in stage((64, height, width), 1, torch.float32)
            ]
            results(*given, "triton", kernel_size=3, padding=1)
        return sum(len(kernel.device_caches[torch.cuda.current_device()][0]) for kernel in found)

    run(100, 168)
    # rows of an odd width have no pairs
    first = run(100, 167)
    for step in range(20):
        assert run(101 + 5 * step, 160 - 3 * step) == first


def test_equivalence_compiled_in_one_graph() -> None:
    x, weight, grad = stage((64, 14, 14), 2, torch.float32)

    def run(x: Tensor, weight: Tensor) -> Tensor:
        return torch.relu(local_aggregation(x * 2, weight, 3, padding=1))

    slopes = []
    for function in (run, torch.compile(run, fullgraph=True)):
        given = x.clone().requires_grad_(), weight.clone().requires_grad_()
        y = function(*given)
        slopes.append((y.detach(), *torch.autograd.grad(y, given, grad)))
    for found, expected in zip(slopes[1], slopes[0], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_values_more_than_2_31_elements() -> None:
    """Tensors of 4.3 GB each, in bfloat16: the last image is found with 64 bits."""
    needed = 4 * 2 * 2**31
    if torch.cuda.mem_get_info()[0] < needed * 1.2:
        pytest.skip("needs 20 GB")
    images = 2**31 // (64 * 64 * 64) + 1
    x = torch.empty(images, 64, 64, 64, device="cuda", dtype=torch.bfloat16).normal_()
    weight = torch.empty(images, 1, 8, 9, 64, 64, device="cuda", dtype=torch.bfloat16).normal_()
    y = local_aggregation(x, weight, 3, padding=1)
    expected = local_aggregation(
        x[-1:].float(), weight[-1:].float(), 3, padding=1, implementation="reference"
    )
    torch.testing.assert_close(y[-1:].float(), expected, rtol=8e-3, atol=1e-2)
