"""What the runner adds to a config's loader."""

from __future__ import annotations

import pytest
import torch
from mmengine.registry import init_default_scope

from mmssl.engine.runner import Runner
from tests.helpers.runs import toy_config


@pytest.fixture(autouse=True)
def _scope() -> None:
    init_default_scope("mmssl")


@pytest.mark.parametrize(
    ("gpu", "changes", "pinned"),
    [
        (False, {}, False),
        (True, {}, True),
        (True, dict(pin_memory=False), False),
        # what detectors yield are lists of objects of their own
        (True, dict(collate_fn=dict(type="pseudo_collate")), False),
    ],
)
def test_state_pinned_memory_where_it_helps(
    gpu: bool, changes: dict, pinned: bool, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = toy_config(tmp_path).train_dataloader.to_dict() | changes
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert Runner.build_dataloader(loader).pin_memory is pinned


def test_state_no_workers_no_options_of_workers(tmp_path) -> None:
    loader = toy_config(tmp_path).train_dataloader.to_dict()
    built = Runner.build_dataloader(loader | dict(persistent_workers=True, prefetch_factor=4))
    assert not built.persistent_workers
