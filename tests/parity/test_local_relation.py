"""Local relation against the authors' operator, transcribed: output and all gradients."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.aggregation import LAYOUTS, laid_out
from tests.helpers.relation import golden, golden_cases, results

pytestmark = pytest.mark.parity
implementations = pytest.mark.parametrize("implementation", ["auto", "reference", "shifted"])


def test_values_all_goldens_are_found() -> None:
    assert len(golden_cases()) >= 3


@implementations
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", golden_cases())
def test_values_float64(name: str, implementation: str, layout: str) -> None:
    case = golden(name)
    inputs = [laid_out(each, layout) for each in case.inputs[:3]]
    grad = laid_out(case.grad, layout)
    found = results([*inputs, case.inputs[3]], implementation, grad, **case.options)
    for key, value in case.expected.items():
        torch.testing.assert_close(found[key], value, rtol=0, atol=1e-10)


@implementations
@pytest.mark.parametrize("name", golden_cases())
def test_values_float32(name: str, implementation: str) -> None:
    case = golden(name)
    inputs = [each.float() for each in case.inputs]
    found = results(inputs, implementation, case.grad.float(), **case.options)
    for key, value in case.expected.items():
        torch.testing.assert_close(found[key].double(), value, rtol=0, atol=1e-4)
