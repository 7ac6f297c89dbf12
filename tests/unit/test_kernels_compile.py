"""The kernels for GPUs, compiled for devices that need not be here.

What they compute is tested through the interpreter (test_*_triton.py) and in tests/gpu.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mmssl.ops.local_relation import SIMILARITIES
from mmssl.ops.local_window import sum_type
from tests.helpers.aggregation import CASES, LAYOUTS, inputs, laid_out, options
from tests.helpers.gpu_compiler import Built, building_for, needs_gpu_compiler
from tests.helpers.relation import random_inputs

pytestmark = needs_gpu_compiler

HOPPER = 90
AGGREGATION = ["forward_kernel", "grad_x_kernel", "grad_weight_kernel"]
RELATION = ["forward_kernel", "by_output_kernel", "by_input_kernel"]
NOT_REPEATABLE = {"ATOM", "ATOMG", "ATOMS", "RED", "REDG"}
"""Instructions that add in an order of the device's own; which name it is depends on the device."""


@pytest.fixture
def hopper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Built]]:
    with building_for(HOPPER, tmp_path, monkeypatch) as built:
        yield built


def aggregate(x: Tensor, weight: Tensor, grad: Tensor, **window: object) -> None:
    """Launch all three passes of local aggregation on tensors without values."""
    from mmssl.ops.local_aggregation.triton import backward_triton, forward_triton
    from mmssl.ops.local_aggregation.window import Window

    pairs = {
        key: value if isinstance(value, tuple) else (value, value) for key, value in window.items()
    }
    groups = pairs.pop("groups", (1, 1))[0]
    taps = Window(pairs.pop("kernel_size"), **pairs)
    x, weight, grad = (without_values(each) for each in (x, weight, grad))
    forward_triton(x, weight, taps, groups, torch.empty_like(grad))
    wanted = torch.empty_like(x), torch.empty_like(weight)
    backward_triton(grad, x, weight, taps, groups, *wanted)


def without_values(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


def stage(
    channels: int,
    side: int,
    dtype: torch.dtype,
    layout: str,
    weight_dtype: torch.dtype | None = None,
) -> list[Tensor]:
    """x, weights and a gradient as in a stage of CoTNet."""
    layouts = {
        "nchw": (torch.contiguous_format, torch.contiguous_format),
        "channels_last": (torch.channels_last, torch.channels_last),
        # what a GroupNorm of the weights leaves
        "weights_nchw": (torch.channels_last, torch.contiguous_format),
    }
    maps, weights = layouts[layout]

    def made(channels: int, dtype: torch.dtype, memory: torch.memory_format) -> Tensor:
        found = torch.empty(64, channels, side, side, dtype=dtype, device="meta")
        return found.to(memory_format=memory)

    weight = made(channels // 8 * 9, weight_dtype or dtype, weights)
    x, grad = (made(channels, dtype, maps) for _ in range(2))
    return [x, weight.unflatten(1, (1, channels // 8, 9)), grad]


def relate(
    dtype: torch.dtype,
    layout: str,
    similarity: str,
    extra: int,
    *,
    inner: int = 2,
    kernel: tuple[int, int] = (3, 5),
    wanted: tuple[bool, bool, bool, bool] = (True, True, True, True),
) -> None:
    """Launch all passes of local relation on tensors without values."""
    from mmssl.ops.local_relation.relation import Gradients, Relation
    from mmssl.ops.local_relation.triton import backward_triton, forward_triton

    *maps, prior = random_inputs(
        kernel_size=kernel, stride=(2, 1), size=(7, 9), extra=extra, inner=inner, dtype=dtype
    )
    query, key, value = (without_values(laid_out(each, layout)) for each in maps)
    prior = without_values(prior)
    relation = Relation(kernel, prior.shape[0], (2, 1), (2, 3), 0.7, -3.0, similarity)
    out = value.new_empty(value.shape[0], value.shape[1], *query.shape[2:])
    if layout == "channels_last":
        out = out.to(memory_format=torch.channels_last)
    log_total = torch.empty(
        query.shape[0], prior.shape[0], *query.shape[2:], dtype=sum_type(query), device="meta"
    )
    inputs = (query, key, value, prior)
    forward_triton(*inputs, relation, out, log_total)
    into = Gradients(
        *(
            torch.empty_like(each) if want else None
            for each, want in zip(inputs, wanted, strict=True)
        )
    )
    backward_triton(torch.empty_like(out), *inputs, out, log_total, relation, into)


def check(built: list[Built], names: list[str], stack: int) -> None:
    """All kernels are there, repeat bit by bit, and keep most in registers."""
    assert [kernel.name for kernel in built] == names
    for kernel in built:
        found = {name.split(".")[0] for name in kernel.instructions}
        assert found & {"FFMA", "FMUL", "DFMA", "DMUL"}, f"{kernel.name} multiplies nothing"
        assert not found.intersection(NOT_REPEATABLE), kernel.name
        assert kernel.stack <= stack, f"{kernel.name}: {kernel.stack} bytes on the stack"


@pytest.mark.parametrize("layout", ["nchw", "channels_last"])
def test_state_aggregation_in_a_stage(hopper: list[Built], layout: str) -> None:
    aggregate(*stage(256, 14, torch.bfloat16, layout), kernel_size=3, padding=1)
    check(hopper, AGGREGATION, stack=96)
    if layout == "channels_last":
        # eight channels that follow each other, read at once
        assert all("LDG.E.128" in " ".join(kernel.instructions) for kernel in hopper)


def test_state_relation(hopper: list[Built]) -> None:
    relate(torch.bfloat16, "nchw", "neg_squared", 1)
    check(hopper, RELATION, stack=0)


def test_state_aggregation_of_weights_that_a_group_norm_leaves(hopper: list[Built]) -> None:
    aggregate(*stage(256, 14, torch.bfloat16, "weights_nchw"), kernel_size=3, padding=1)
    check(hopper, AGGREGATION, stack=96)


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["nchw", "channels_last", "weights_nchw"])
@pytest.mark.parametrize(
    "dtypes", [(torch.bfloat16, torch.float32), (torch.float32, torch.float16)]
)
def test_state_aggregation_under_autocast(
    hopper: list[Built], dtypes: tuple[torch.dtype, torch.dtype], layout: str
) -> None:
    aggregate(*stage(128, 28, dtypes[0], layout, dtypes[1]), kernel_size=3, padding=1)
    check(hopper, AGGREGATION, stack=128)


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["nchw", "channels_last"])
def test_state_far_offsets(
    hopper: list[Built], layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Maps whose offsets need 64 bits."""
    from mmssl.ops.local_aggregation import triton as aggregation
    from mmssl.ops.local_relation import triton as relation

    monkeypatch.setattr(aggregation, "MAX_OFFSET", 10)
    monkeypatch.setattr(relation, "MAX_OFFSET", 10)
    aggregate(*stage(64, 56, torch.float32, layout), kernel_size=3, padding=1)
    check(hopper, AGGREGATION, stack=256)
    hopper.clear()
    relate(torch.float32, layout, "neg_squared", 0)
    check(hopper, RELATION, stack=64)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wanted", "kernels"),
    [
        ((True, True, True, True), RELATION),
        ((True, False, False, False), RELATION[:2]),
        ((False, False, False, True), RELATION[:2]),
        ((False, False, True, False), [RELATION[0], RELATION[2]]),
        ((False, True, False, False), RELATION),
    ],
)
def test_state_relation_of_a_layer(
    hopper: list[Built], wanted: tuple[bool, bool, bool, bool], kernels: list[str]
) -> None:
    """One channel of queries and keys for each group, a window of seven: LR-Net's; some gradients alone."""
    relate(torch.bfloat16, "nchw", "neg_squared", 0, inner=1, kernel=(7, 7), wanted=wanted)
    check(hopper, kernels, stack=0)


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["nchw", "channels_last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("capability", [80, HOPPER, 120])
def test_state_devices(
    capability: int,
    dtype: torch.dtype,
    layout: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for channels, side in ((64, 56), (512, 7)):
        with building_for(capability, tmp_path, monkeypatch) as built:
            aggregate(*stage(channels, side, dtype, layout), kernel_size=3, padding=1)
        check(built, AGGREGATION, stack=128)
    with building_for(capability, tmp_path, monkeypatch) as built:
        relate(dtype, layout, "neg_squared", 0)
    check(built, RELATION, stack=0)


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", CASES)
def test_state_windows_of_aggregation(hopper: list[Built], name: str, layout: str) -> None:
    aggregate(*(laid_out(each, layout) for each in inputs(name)), **options(name))
    check(hopper, AGGREGATION, stack=512)


@pytest.mark.slow
@pytest.mark.parametrize("extra", [0, 2])
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_state_similarities(hopper: list[Built], similarity: str, extra: int) -> None:
    relate(torch.float64, "channels_last", similarity, extra)
    check(hopper, RELATION, stack=512)
