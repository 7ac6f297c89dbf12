"""Activation checkpointing: same losses, gradients and statistics as without."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from mmssl.engine.activation_checkpointing import checkpoint_activations
from tests.helpers.tiny import tiny_model, tiny_views, total_loss


@pytest.mark.parametrize(
    "names", [["backbone"], ["t_stream"], ["backbone.stages.1", "t_stream.blocks.0"]]
)
def test_equivalence(names):
    plain, sparing = tiny_model("care"), tiny_model("care")
    checkpoint_activations(sparing, names)
    losses = [total_loss(model(tiny_views(), mode="loss")) for model in (plain, sparing)]
    assert torch.equal(*losses)
    for loss in losses:
        loss.backward()
    other = dict(sparing.named_parameters())
    for name, parameter in plain.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(other[name].grad, parameter.grad)
    state = sparing.state_dict()
    for name, value in plain.state_dict().items():
        assert torch.equal(state[name], value), name


def test_equivalence_norms_that_are_no_batch_norm_of_torch():
    """Instance norm with statistics and mmcv's SyncBatchNorm have the same buffers, but no common class."""
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4, track_running_stats=True))
    sparing = nn.Sequential(copy.deepcopy(plain))
    checkpoint_activations(sparing, ["0"])
    images = torch.randn(2, 3, 8, 8)
    for network in (plain, sparing):
        network(images).square().sum().backward()
    assert torch.equal(sparing[0][0].weight.grad, plain[0].weight.grad)
    assert not torch.equal(plain[1].running_mean, torch.zeros(4))
    for name, value in plain[1].state_dict().items():
        assert torch.equal(sparing[0][1].state_dict()[name], value), name
    assert sparing[0][1].momentum == plain[1].momentum == 0.1


def test_raises_on_an_unknown_module():
    with pytest.raises(AttributeError):
        checkpoint_activations(tiny_model("care"), ["backbone.layer9"])
