"""What local aggregation and local relation have in common as operators of torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mmssl.ops import implementation as dispatch
from mmssl.ops.local_aggregation import local_aggregation
from mmssl.ops.local_aggregation import operator as aggregation_operator
from mmssl.ops.local_relation import local_relation
from mmssl.ops.local_relation import operator as relation_operator
from tests.helpers.aggregation import inputs as aggregation_inputs
from tests.helpers.relation import random_inputs


def aggregated(x: Tensor, weight: Tensor, **changes: Any) -> Tensor:
    return local_aggregation(x, weight, **(dict(kernel_size=3, padding=1) | changes))


def related(*inputs: Tensor, **changes: Any) -> Tensor:
    return local_relation(*inputs, **(dict(kernel_size=3, groups=3) | changes))


def aggregation(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Arguments of `aggregated`."""
    return list(aggregation_inputs("plain", dtype=dtype)[:2])


def relation(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Arguments of `related`."""
    return random_inputs(dtype=dtype)


BOTH = pytest.mark.parametrize(
    ("run", "draw"),
    [(aggregated, aggregation), (related, relation)],
    ids=["aggregation", "relation"],
)
MODULES = {aggregated: aggregation_operator, related: relation_operator}


class Network(torch.nn.Module):
    """An operator as a network."""

    def __init__(self, run: Callable[..., Tensor]) -> None:
        super().__init__()
        self.run = run

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.run(*inputs)


@BOTH
def test_state_an_exported_program_chooses_where_it_runs(
    run: Callable[..., Tensor], draw: Callable[..., list[Tensor]]
) -> None:
    """A program made on a CPU names no implementation of CPUs."""
    program = torch.export.export(Network(run), tuple(draw()), strict=False)
    names = [each.args[-1] for each in program.graph.nodes if "mmssl.local" in str(each.target)]
    assert names == ["auto"]


@BOTH
def test_state_a_compiled_step_chooses_where_it_runs(
    run: Callable[..., Tensor], draw: Callable[..., list[Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both passes ask for the device of the tensors that they get."""
    asked = []
    monkeypatch.setattr(
        MODULES[run],
        "runs_kernels",
        lambda name, tensor: asked.append((name, tensor.device.type)),
    )
    given = [each.requires_grad_() for each in draw()]
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    torch.autograd.grad(compiled(*given).sum(), given)
    assert asked == [("auto", "cpu")] * 2


@pytest.mark.slow
@BOTH
def test_equivalence_compiled_by_inductor(
    run: Callable[..., Tensor], draw: Callable[..., list[Tensor]]
) -> None:
    """Code is generated around the operator."""

    def step(*given: Tensor) -> Tensor:
        return torch.relu(run(*given))

    results = []
    for function in (step, torch.compile(step, fullgraph=True)):
        given = [each.requires_grad_() for each in draw()]
        y = function(*given)
        results.append((y.detach(), *torch.autograd.grad(y.square().sum(), given)))
    torch.testing.assert_close(results[1], results[0], rtol=1e-9, atol=1e-10)


@BOTH
def test_raises_without_a_compiler_what_to_do(
    run: Callable[..., Tensor], draw: Callable[..., list[Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("Failed to find C compiler. Please specify via CC environment variable.")

    for name in ("forward_shifted", "backward_shifted"):
        monkeypatch.setattr(MODULES[run], name, fail)
        given = [each.requires_grad_() for each in draw()]
        with pytest.raises(RuntimeError, match=r'gcc or clang.*implementation="shifted"'):
            run(*given, implementation="shifted").sum().backward()
        monkeypatch.undo()


def test_raises_other_failures_as_they_are() -> None:
    with (
        pytest.raises(RuntimeError, match="^out of memory$"),
        dispatch.on_device(torch.zeros(1), "local_relation"),
    ):
        raise RuntimeError("out of memory")


@pytest.mark.parametrize(
    ("implementation", "cuda", "found", "expected"),
    [
        ("auto", False, True, False),
        ("auto", True, True, True),
        ("auto", True, False, False),
        ("shifted", True, True, False),
        ("triton", True, True, True),
        ("cpp", True, True, False),
    ],
)
def test_values_who_runs_kernels(
    implementation: str,
    cuda: bool,
    found: bool,
    expected: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Somewhere:
        is_cuda = cuda

    monkeypatch.setattr(dispatch, "_HAS_TRITON", found)
    assert dispatch.runs_kernels(implementation, Somewhere()) == expected


@BOTH
def test_values_an_export_to_onnx_has_the_formula(
    run: Callable[..., Tensor], draw: Callable[..., list[Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its program consists of operators of torch alone."""
    monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)
    given = tuple(draw())
    program = torch.export.export(Network(run), given, strict=False)
    assert not any("mmssl" in str(each.target) for each in program.graph.nodes)
    torch.testing.assert_close(program.module()(*given), run(*given, implementation="reference"))


@BOTH
@pytest.mark.parametrize("three", [np.int64(3), np.array(3), torch.tensor(3), [3, np.int8(3)]])
def test_values_whole_numbers_of_any_library(
    run: Callable[..., Tensor], draw: Callable[..., list[Tensor]], three: Any
) -> None:
    given = draw()
    torch.testing.assert_close(
        run(*given, kernel_size=three, groups=np.int32(3) if run is related else np.int32(1)),
        run(*given),
    )


@BOTH
@pytest.mark.parametrize("wrong", [3.0, True, None, "3", 0, (3, True), (3, 3.0), (3, 3, 3), "33"])
@pytest.mark.parametrize("name", ["kernel_size", "stride", "dilation"])
def test_raises_what_is_no_whole_number(
    run: Callable[..., Tensor], draw: Callable[..., list[Tensor]], name: str, wrong: Any
) -> None:
    with pytest.raises(ValueError, match=f"{name} is a whole number of at least 1"):
        run(*draw(), **{name: wrong})


@BOTH
@pytest.mark.parametrize("wrong", [3.0, True, None, "3", 0, (3, 3)])
def test_raises_groups_that_are_no_whole_number(
    run: Callable[..., Tensor], draw: Callable[..., list[Tensor]], wrong: Any
) -> None:
    with pytest.raises(ValueError, match="groups is a whole number of at least 1"):
        run(*draw(), groups=wrong)


@BOTH
def test_raises_for_functional_gradients_but_the_formula(
    run: Callable[..., Tensor], draw: Callable[..., list[Tensor]]
) -> None:
    first, *rest = draw()

    def total(each: Tensor, implementation: str) -> Tensor:
        return run(each, *rest, implementation=implementation).sum()

    leaf = first.clone().requires_grad_()
    (expected,) = torch.autograd.grad(total(leaf, "shifted"), leaf)
    for derive in (torch.func.grad, torch.func.jacrev):
        found = derive(lambda each: total(each, "reference"))(first)
        torch.testing.assert_close(found, expected)
        with pytest.raises(RuntimeError, match=r"torch\.func|functorch"):
            derive(lambda each: total(each, "auto"))(first)
