"""Local relation on a GPU: the kernels against the formula, layouts, repeatability, compilation."""

from __future__ import annotations

import pytest
import torch

from mmssl.models.backbones import LRNet
from mmssl.ops.local_relation import SIMILARITIES, local_relation
from tests.helpers.aggregation import LAYOUTS, laid_out
from tests.helpers.relation import golden, golden_cases, random_inputs

pytestmark = pytest.mark.gpu


def on_gpu(inputs, implementation, grad=None, **options):
    """Output and gradients."""
    leaves = [each.detach().cuda().requires_grad_() for each in inputs]
    y = local_relation(*leaves, implementation=implementation, **options)
    grad = torch.linspace(-1, 2, y.numel()).view_as(y) if grad is None else grad
    grads = torch.autograd.grad(y, leaves, grad.to(y), allow_unused=True)
    return [y.detach()] + [
        torch.zeros_like(leaf) if each is None else each for each, leaf in zip(grads, leaves)
    ]


@pytest.mark.parametrize("name", golden_cases())
def test_values_goldens(name):
    case = golden(name)
    found = on_gpu(case.inputs, "auto", case.grad, **case.options)
    for value, expected in zip(found, case.expected.values()):
        torch.testing.assert_close(value.cpu(), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_equivalence_odd_sizes(similarity, layout):
    window = dict(kernel_size=(3, 5), stride=(2, 2))
    inputs = random_inputs(size=(9, 11), inner=3, outer=5, extra=2, **window)
    inputs[:3] = [laid_out(each, layout) for each in inputs[:3]]
    options = dict(
        window, dilation=(2, 3), groups=3, scale=0.7, outside=-2.0, similarity=similarity
    )
    found, expected = (on_gpu(inputs, kind, **options) for kind in ("triton", "reference"))
    for value, other in zip(found, expected):
        torch.testing.assert_close(value, other, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_values_precision(dtype):
    sizes = dict(groups=8, inner=1, outer=8, size=(14, 14), num=4, kernel_size=(7, 7))
    inputs = [each.to(dtype) for each in random_inputs(dtype=torch.float32, **sizes)]
    found = on_gpu(inputs, "triton", kernel_size=7, groups=8)
    expected = on_gpu([each.float() for each in inputs], "reference", kernel_size=7, groups=8)
    rtol, factor = {
        torch.float32: (1e-4, 1e-5), torch.float16: (1e-3, 2e-3), torch.bfloat16: (8e-3, 1e-2),
    }[dtype]  # fmt: skip
    for value, other in zip(found, expected):
        atol = factor * max(float(other.abs().max()), 1)
        torch.testing.assert_close(value.float(), other, rtol=rtol, atol=atol)


def test_values_repeat_bit_by_bit():
    inputs = random_inputs(groups=8, inner=1, outer=8, size=(28, 28), num=4, dtype=torch.float32)
    first, second = (on_gpu(inputs, "triton", kernel_size=3, groups=8) for _ in range(2))
    assert all(torch.equal(*pair) for pair in zip(first, second))


def test_equivalence_network_under_autocast_and_compiled():
    torch.manual_seed(0)
    network = LRNet((1, 1, 1, 1), widths=(16,) * 4, shares=(8,) * 4).cuda().train()
    images = torch.randn(4, 3, 64, 64, device="cuda").to(memory_format=torch.channels_last)
    plain = network(images)[0]
    compiled = torch.compile(network, fullgraph=True)(images)[0]
    torch.testing.assert_close(compiled, plain, rtol=1e-3, atol=1e-3)
    with torch.autocast("cuda", torch.bfloat16):
        half = network(images)[0]
    half.float().square().mean().backward()
    assert all(each.grad.isfinite().all() for each in network.parameters())
    torch.testing.assert_close(half.float(), plain, rtol=0.1, atol=0.1 * float(plain.abs().max()))
