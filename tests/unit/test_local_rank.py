"""LOCAL_RANK under launchers that tell it, have another name for it, or say nothing."""

from __future__ import annotations

import os

import pytest

from mmssl.engine.local_rank import set_local_rank


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, "3"),
        (dict(LOCAL_RANK="1"), "1"),
        (dict(OMPI_COMM_WORLD_LOCAL_RANK="2"), "2"),
        (dict(LOCAL_RANK="1", OMPI_COMM_WORLD_LOCAL_RANK="2"), "1"),
    ],
)
def test_values(told: dict, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    set_local_rank(3)
    assert os.environ["LOCAL_RANK"] == expected
    monkeypatch.setenv("LOCAL_RANK", "")  # so that it is taken back
