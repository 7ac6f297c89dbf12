"""A small network of the CoTNet family on a GPU: float32, half precision, both layouts, compiled."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from mmssl.models.backbones import CoTNet

pytestmark = pytest.mark.gpu
ARCH = dict(
    depths=(1, 1, 2, 1), planes=(32,) * 4, mixers=("cot", "coxt", ("cot", "se"), "sasa"),
    base_width=48, cardinality=2, stem_channels=16,
)  # fmt: skip


@pytest.fixture(autouse=True)
def exact_products() -> Iterator[None]:
    allowed = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = allowed


@pytest.fixture(scope="module")
def network() -> CoTNet:
    """With small residual branches, as after some training: rounding does not grow from block to block."""
    torch.manual_seed(0)
    network = CoTNet(ARCH, norm_eval=True)
    for name, weight in network.named_parameters():
        if name.endswith("bn3.weight"):
            nn.init.constant_(weight, 0.2)
    return network


def images() -> Tensor:
    return torch.randn(4, 3, 96, 80, generator=torch.Generator().manual_seed(1))


def step(
    network: nn.Module, device: str, dtype: torch.dtype | None = None, **layout
) -> list[Tensor]:
    """The last map, and the gradient of every parameter, on the CPU."""
    with torch.autocast(device, dtype, enabled=dtype is not None):
        found = network(images().to(device, **layout))[-1].float()
    found.square().mean().backward()
    return [one.detach().float().cpu() for one in (found, *(p.grad for p in network.parameters()))]


def on_gpu(network: CoTNet, **layout) -> CoTNet:
    return copy.deepcopy(network).to("cuda", **layout)


def assert_near(
    ours: list[Tensor], theirs: list[Tensor], of_map: float, of_gradient: float
) -> None:
    """Relative errors of the map and of all gradients together.

    Where a rounding moves an activation over the kink of a ReLU, a gradient jumps: its bound is wider.
    """
    gradients = [torch.cat([one.flatten() for one in side[1:]]) for side in (ours, theirs)]
    for (a, b), bound in (((ours[0], theirs[0]), of_map), (gradients, of_gradient)):
        assert (a - b).norm() < bound * b.norm()


@pytest.fixture(scope="module")
def expected(network: CoTNet) -> list[Tensor]:
    return step(copy.deepcopy(network), "cpu")


@pytest.mark.parametrize("layout", ["contiguous_format", "channels_last"])
def test_equivalence_float32(network, expected, layout) -> None:
    memory = dict(memory_format=getattr(torch, layout))
    assert_near(step(on_gpu(network, **memory), "cuda", **memory), expected, 1e-4, 1e-2)


@pytest.mark.parametrize("layout", ["contiguous_format", "channels_last"])
@pytest.mark.parametrize(
    ("dtype", "of_map", "of_gradient"), [(torch.float16, 0.01, 0.15), (torch.bfloat16, 0.06, 0.5)]
)
def test_equivalence_half_precision(network, expected, dtype, of_map, of_gradient, layout) -> None:
    memory = dict(memory_format=getattr(torch, layout))
    found = step(on_gpu(network, **memory), "cuda", dtype, **memory)
    assert_near(found, expected, of_map, of_gradient)


def test_equivalence_compiled(network, expected) -> None:
    torch.compiler.reset()
    model = on_gpu(network)
    compiled = torch.compile(model, fullgraph=True)
    found = compiled(images().cuda())[-1]
    found.square().mean().backward()
    grads = [p.grad.cpu() for p in model.parameters()]
    assert_near([found.detach().cpu(), *grads], expected, 1e-3, 1e-2)


def test_equivalence_recomputed(network, expected) -> None:
    model = CoTNet(ARCH, norm_eval=True, with_cp=True).cuda()
    model.load_state_dict(network.state_dict())
    assert_near(step(model, "cuda"), expected, 1e-4, 1e-2)
