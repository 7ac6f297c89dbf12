"""Activation checkpointing: same losses, gradients and statistics as without."""

from __future__ import annotations

import pytest
import torch

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


def test_raises_on_an_unknown_module():
    with pytest.raises(AttributeError):
        checkpoint_activations(tiny_model("care"), ["backbone.layer9"])
