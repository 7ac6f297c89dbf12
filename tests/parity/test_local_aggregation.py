"""Local aggregation against the official kernels, simulated index by index: output and both gradients."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.aggregation import FAST, LAYOUTS, golden, golden_cases, laid_out, results

pytestmark = pytest.mark.parity


def test_values_all_goldens_are_found() -> None:
    assert len(golden_cases()) >= 8


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("implementation", [*FAST, "reference"])
@pytest.mark.parametrize("name", golden_cases())
def test_values_float64(name: str, implementation: str, layout: str) -> None:
    case = golden(name)
    inputs = (laid_out(each, layout) for each in (case.x, case.weight, case.grad))
    found = results(*inputs, implementation, **case.options)
    for key, value in case.expected.items():
        torch.testing.assert_close(found[key], value, rtol=0, atol=1e-10)


@pytest.mark.parametrize("implementation", [*FAST, "reference"])
@pytest.mark.parametrize("name", golden_cases())
def test_values_float32(name: str, implementation: str) -> None:
    case = golden(name)
    found = results(
        case.x.float(), case.weight.float(), case.grad.float(), implementation, **case.options
    )
    for key, value in case.expected.items():
        torch.testing.assert_close(found[key].double(), value, rtol=1e-5, atol=2e-5)
