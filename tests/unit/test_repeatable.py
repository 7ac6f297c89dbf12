"""Embeddings that can be made again: the switches of cuDNN inside, and as they were outside."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from mmssl.evaluation.repeatable import repeatable

CPU = torch.device("cpu")
CUDNN = torch.backends.cudnn
KINDS = [CUDNN.conv, CUDNN.rnn] if hasattr(CUDNN, "conv") else []
needs_new = pytest.mark.skipif(not KINDS, reason="torch < 2.9 has the old way only")


def state() -> tuple:
    """What torch says of each switch; the old one may refuse."""
    try:
        allowed = CUDNN.allow_tf32
    except RuntimeError:
        allowed = "refused"
    precisions = [kind.fp32_precision for kind in KINDS]
    return CUDNN.benchmark, CUDNN.deterministic, allowed, precisions


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = state()
    yield
    CUDNN.benchmark, CUDNN.deterministic, CUDNN.allow_tf32 = before[:3]
    if KINDS:
        CUDNN.fp32_precision = "none"
    for kind, value in zip(KINDS, before[3], strict=True):
        kind.fp32_precision = value
    assert state() == before


def test_state_inside_and_after() -> None:
    CUDNN.benchmark, CUDNN.deterministic = True, False
    before = state()
    assert before[:3] == (True, False, True)
    with repeatable(CPU):
        assert state() == (False, True, False, ["ieee"] * len(KINDS))
        assert torch.get_float32_matmul_precision() == "highest"
    assert state() == before
    with pytest.raises(KeyError), repeatable(CPU):
        raise KeyError
    assert state() == before


def test_state_without_tf32_stays_without() -> None:
    CUDNN.allow_tf32 = False
    before = state()
    with repeatable(CPU), repeatable(CPU):
        assert state()[2] is False
    assert state() == before


@needs_new
@pytest.mark.parametrize("way", ["conv", "all", "all_whole"])
def test_state_set_in_the_new_way(way: str) -> None:
    if way == "conv":
        CUDNN.conv.fp32_precision = "ieee"
    else:
        CUDNN.fp32_precision = "tf32" if way == "all" else "ieee"
    before = state()
    with repeatable(CPU):
        assert state()[2:] == (False, ["ieee", "ieee"])
    assert state() == before
