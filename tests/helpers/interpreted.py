"""Tests of Triton kernels in a process where Triton interprets them.

Triton decides when it is imported whether it compiles or interprets.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
interpreted = pytest.mark.skipif(not INTERPRETED, reason="run by test_values_interpreted")


def run_interpreted(*selected: str) -> None:
    """Run tests in a process of their own; skips where Triton interprets already.

    Args:
        *selected: Files or names of tests, as pytest takes them; each has to pass, none may be missing.
    """
    if INTERPRETED:
        pytest.skip("would start itself")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *selected]
    run = subprocess.run(
        command,
        env=dict(os.environ, TRITON_INTERPRET="1"),
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-1000:]
    assert " passed" in run.stdout


class Guarded:
    """A tensor within memory that holds NaN, itself NaN or a copy of another."""

    def __init__(self, like: Tensor, *, copy: bool) -> None:
        self.memory = torch.full((like.numel() + 64,), torch.nan, dtype=like.dtype)
        self.tensor = self.memory[32 : 32 + like.numel()].as_strided(
            like.shape, like.stride(), self.memory.storage_offset() + 32
        )
        if copy:
            self.tensor.copy_(like)

    def is_untouched_around(self) -> bool:
        """Whether nothing was written beside the tensor."""
        return bool(self.memory[:32].isnan().all() and self.memory[-32:].isnan().all())
