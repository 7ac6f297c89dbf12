"""Backbones as graphs: one per size of crops, without a break."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from mmssl.models.backbones import CoTNet, CvT, LRNet, ResNet, Swin, ViL, VisionTransformer

NETWORKS = {
    "swin": lambda: Swin(8, depths=(2, 1), num_heads=(1, 2), window_size=4, out_indices=(1,)),
    "vit": lambda: VisionTransformer(16, depth=1, num_heads=2, pretrain_img_size=64),
    "cvt": lambda: CvT((8, 16), depths=(1, 1), num_heads=(1, 2), window_sizes=(4, 4), out_indices=(1,)),
    "vil": lambda: ViL(
        (8, 16), depths=(2, 1), num_heads=(1, 2), sparse=(True, True), num_global_tokens=(1, 0),
        patch_sizes=(4, 2), window_sizes=(4, 4), out_indices=(1,),
    ),
    "cotnet": lambda: CoTNet(
        dict(depths=(1, 1, 2), planes=(8, 8, 16), mixers=("cot", "sasa", ("se", "cot"))), out_indices=(2,),
    ),
    "resnet": lambda: ResNet(18, out_indices=(1,)),
    "resnet_with_plugin": lambda: ResNet(
        18, out_indices=(1,), plugins=[dict(cfg=dict(type="DNLBlock"), position="after_conv2")]
    ),
    "lrnet": lambda: LRNet((1, 1, 1, 1), widths=(8,) * 4, shares=(4,) * 4, kernel_size=3, out_indices=(1,)),
}  # fmt: skip
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
