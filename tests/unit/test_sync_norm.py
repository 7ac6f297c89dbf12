"""BatchNorm becomes SyncBatchNorm and the reverse, a scale without shift included."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from mmssl.engine.runner import Runner
from mmssl.models.layers import make_norms_local, norm_layer, synchronise_norms
from tests.helpers.runs import method_config

NECK = dict(
    type="MLPNeck", hid_channels=16, out_channels=8, bias=False, last_bias=False,
    norm_cfg=dict(type="SyncBN"), last_norm_cfg=dict(type="SyncBN", bias=False),
)  # fmt: skip


def network(kind: str) -> nn.Module:
    """Norms of maps and of vectors, with and without shift; one that is frozen."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        norm_layer(dict(type=kind, requires_grad=False), 4, maps=True),
        nn.Flatten(),
        nn.Linear(64, 6),
        norm_layer(dict(type=kind, eps=1e-3), 6, maps=False),
        norm_layer(dict(type=kind, bias=False), 6, maps=False),
    )
    for parameter in model.parameters():
        nn.init.uniform_(parameter.data, 0.5, 1.5)
    return model.train()


@pytest.mark.parametrize("changed", [True, False], ids=["sync-to-local", "local-to-sync"])
def test_equivalence_of_both_directions(changed: bool) -> None:
    """Values, names, which tensors learn and the tensors themselves stay; classes change, once."""
    model, other = network("SyncBN" if changed else "BN"), network("BN")
    before = {
        name: id(value) for name, value in [*model.named_parameters(), *model.named_buffers()]
    }
    change = make_norms_local if changed else synchronise_norms
    assert change(model) == 3
    assert change(model) == 0
    for index in (1, 4, 5):
        assert isinstance(model[index], nn.SyncBatchNorm) is not changed
    assert {
        name: id(value) for name, value in [*model.named_parameters(), *model.named_buffers()]
    } == before
    for images in torch.randn(2, 5, 3, 6, 6):
        assert torch.equal(model(images), other(images))
    assert model.state_dict().keys() == other.state_dict().keys()
    assert "5.bias" not in model.state_dict()
    learns = [name for name, value in model.named_parameters() if value.requires_grad]
    assert learns == [name for name, value in other.named_parameters() if value.requires_grad]
    other.load_state_dict(copy.deepcopy(model).state_dict())
    model[5](model[4](torch.randn(4, 6))).square().sum().backward()
    assert model[5].weight.grad is not None and model[5].bias.grad is None


@pytest.mark.parametrize("sync_bn", [None, "torch"])
def test_state_a_runner_on_one_process(tmp_path: Path, sync_bn: str | None) -> None:
    """SimCLR's neck becomes local as a whole, and the config keeps what it said."""
    config = method_config(tmp_path, "simclr", **{"model.neck": dict(NECK, _delete_=True)})
    if sync_bn:
        config.sync_bn = sync_bn
    runner = Runner.from_cfg(config)
    assert not any(isinstance(layer, nn.SyncBatchNorm) for layer in runner.model.modules())
    assert runner.cfg.get("sync_bn") == sync_bn
    assert not runner.model.neck.layers[-1].bias.any()


def test_raises_for_an_unknown_sync_bn(tmp_path: Path) -> None:
    config = method_config(tmp_path, "simclr")
    config.sync_bn = "apex"
    with pytest.raises(ValueError, match="sync_bn must be 'torch' or 'mmcv', got 'apex'"):
        Runner.from_cfg(config)
