"""The Triton kernels of local relation, interpreted on the CPU.

Triton decides when it is imported whether it compiles or interprets: the tests run in a process of their own,
which the last one starts.
"""

from __future__ import annotations

import pytest
import torch

from mmssl.ops.local_relation import SIMILARITIES
from tests.helpers.aggregation import laid_out
from tests.helpers.interpreted import interpreted, run_interpreted
from tests.helpers.relation import golden, golden_cases, random_inputs, results
from tests.helpers.tolerance import FLOAT64

pytest.importorskip("triton")


def compare(found, expected, **tolerance) -> None:
    for key, value in expected.items():
        torch.testing.assert_close(
            found[key], value, **tolerance, msg=lambda text: f"{key}: {text}"
        )


@interpreted
@pytest.mark.parametrize("name", golden_cases())
def test_values_goldens(name):
    case = golden(name)
    compare(
        results(case.inputs, "triton", case.grad, **case.options), case.expected, rtol=0, atol=1e-10
    )


@interpreted
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_equivalence_odd_sizes(similarity):
    """Channels that are no powers of two, saliency, stride 2 with dilation 2, other layouts of memory."""
    window = dict(kernel_size=(3, 2), stride=(2, 1))
    inputs = random_inputs(size=(4, 5), inner=3, outer=5, groups=2, extra=1, num=1, **window)
    layouts = ("strided", "channels_last", "channels_last")
    inputs[:3] = [laid_out(each, layout) for each, layout in zip(inputs, layouts)]
    options = dict(
        window, dilation=(2, 3), groups=2, scale=0.7, outside=-2.0, similarity=similarity
    )
    compare(
        results(inputs, "triton", **options), results(inputs, "reference", **options), **FLOAT64
    )


@interpreted
def test_equivalence_many_programs_and_wide_offsets(monkeypatch):
    from mmssl.ops.local_relation import triton as gpu

    inputs = random_inputs(size=(6, 7), groups=2, num=4)
    expected = results(inputs, "reference", kernel_size=3, groups=2)
    compare(results(inputs, "triton", kernel_size=3, groups=2), expected, **FLOAT64)
    assert not gpu._reaches_far(*inputs)
    monkeypatch.setattr(gpu, "MAX_OFFSET", 10)
    assert gpu._reaches_far(*inputs)
    compare(results(inputs, "triton", kernel_size=3, groups=2), expected, **FLOAT64)


@interpreted
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_values_precision(dtype):
    inputs = [each.to(dtype) for each in random_inputs(dtype=torch.float32)]
    found = results(inputs, "triton", kernel_size=3, groups=3)
    rounded = [each.float() for each in inputs]
    for key, value in results(rounded, "reference", kernel_size=3, groups=3).items():
        assert found[key].dtype == dtype
        atol = (2e-5 if dtype == torch.float32 else 2e-3) * max(float(value.abs().max()), 1)
        torch.testing.assert_close(found[key].float(), value, rtol=1e-3, atol=atol)


@interpreted
def test_values_mixed_types():
    query, key, value, prior = random_inputs(dtype=torch.float32, num=1, size=(3, 4))
    inputs = [query.half(), key.half(), value, prior]
    found = results(inputs, "triton", kernel_size=3, groups=3)
    assert [each.dtype for each in found.values()] == [
        torch.float32,
        *(each.dtype for each in inputs),
    ]
    expected = results([each.float() for each in inputs], "reference", kernel_size=3, groups=3)
    torch.testing.assert_close(found["y"], expected["y"], rtol=1e-4, atol=1e-5)


def test_values_a_case_interpreted():
    run_interpreted(f"{__file__}::test_values_mixed_types")


@pytest.mark.slow
def test_values_interpreted():
    """All of the above, in a process where Triton interprets."""
    run_interpreted(__file__)
