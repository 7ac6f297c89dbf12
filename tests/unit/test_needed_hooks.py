"""Parts of a model that no hook serves."""

from __future__ import annotations

import pytest
from mmengine.hooks import Hook
from torch import nn

from mmssl.engine.hooks import ClusterHook, InstanceRowsHook, MomentumUpdateHook
from mmssl.engine.hooks.needed_hooks import missing_hook
from mmssl.models.heads import InstanceClassifier
from mmssl.models.memories import InstanceRows, Prototypes
from mmssl.models.momentum_twin import MomentumTwin


class Model(nn.Module):
    """A network with a part."""

    def __init__(self, make_part) -> None:
        super().__init__()
        self.backbone = nn.Linear(2, 2)
        self.part = make_part(self)


class OwnHook(Hook):
    """Of a user."""

    fills_prototypes = True
    steps_instance_rows = True


def twin(model: nn.Module) -> nn.Module:
    return MomentumTwin(model, ["backbone"], momentum=0.9, update_at="before_forward")


def prototypes(model: nn.Module) -> nn.Module:
    return Prototypes((3, 2), 2)


def rows(model: nn.Module) -> nn.Module:
    return InstanceRows(5, 2, num_negatives=None)


def unsaved(model: nn.Module) -> nn.Module:
    return InstanceClassifier(2, 5, save_classifier=False)


@pytest.mark.parametrize(
    ("make_part", "hook", "message"),
    [
        (twin, MomentumUpdateHook, "no MomentumUpdateHook moves it"),
        (prototypes, ClusterHook, "Model learns from prototypes, but no hook"),
        (prototypes, OwnHook, "or a hook of your own with fills_prototypes = True"),
        (rows, InstanceRowsHook, "The class weights of Model are no parameters"),
        (rows, OwnHook, "no hook steps them"),
        (unsaved, InstanceRowsHook, "save_classifier=False has no effect here"),
    ],
)
def test_raises_a_part_without_its_hook(make_part, hook, message):
    model = Model(make_part)
    assert message in missing_hook(model, [Hook()])
    # what a hook says of itself is said by its class
    assert missing_hook(model, [Hook(), hook.__new__(hook)]) is None


def test_state_the_first_unserved_part_is_told():
    model = nn.Sequential(Model(rows), Model(twin))
    assert "MomentumTwin" in missing_hook(model, [InstanceRowsHook()])
    assert "class weights" in missing_hook(model, [MomentumUpdateHook()])
