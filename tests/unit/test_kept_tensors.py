"""Tables that are made once: how many are kept, and how large."""

from __future__ import annotations

import pytest
import torch

from mmssl.models.layers import kept_tensors


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch):
    """A function whose calls are noted."""
    calls: list[int] = []

    @kept_tensors.kept_tensor
    def zeros(number: int) -> torch.Tensor:
        calls.append(number)
        return torch.zeros(number, dtype=torch.uint8)

    monkeypatch.setattr(kept_tensors, "MAX_KEPT", 3)
    monkeypatch.setattr(kept_tensors, "MAX_BYTES", 100)
    return zeros, calls


def test_state_made_once(made) -> None:
    zeros, calls = made
    assert zeros(5) is zeros(5)
    assert calls == [5]


def test_state_no_more_than_so_many(made) -> None:
    zeros, calls = made
    for number in (1, 2, 3, 1, 4, 1):
        zeros(number)
    assert calls == [1, 2, 3, 4, 1]


def test_state_no_more_than_so_many_bytes(made) -> None:
    zeros, calls = made
    for number in (60, 40, 60, 50, 60):
        zeros(number)
    assert calls == [60, 40, 50, 60]
    # one that is larger than all may be is kept alone
    assert zeros(1000) is zeros(1000)
