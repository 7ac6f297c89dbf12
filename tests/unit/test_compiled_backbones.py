"""Backbones as graphs: one per size of crops, without a break."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.helpers.networks import NETWORKS

networks = pytest.mark.parametrize("name", NETWORKS)


@pytest.mark.slow
@networks
def test_equivalence_compiled(name: str) -> None:
    """Traced by dynamo and autograd, run by plain kernels."""
    torch.compiler.reset()
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    compiled = torch.compile(network, backend="aot_eager", dynamic=False, fullgraph=True)
    for size in (64, 32):
        images = torch.randn(2, 3, size, size)
        torch.testing.assert_close(compiled(images), network(images), rtol=1e-4, atol=1e-5)


@networks
def test_state_fake_tensors_leave_nothing_behind(name: str) -> None:
    network = NETWORKS[name]()
    with FakeTensorMode(allow_non_fake_inputs=True):
        network(torch.empty(3, 3, 64, 64))
    assert network(torch.zeros(3, 3, 64, 64))[0].isfinite().all()
