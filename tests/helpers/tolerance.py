"""Tolerances that several tests share; a test of its own states its own."""

from __future__ import annotations

FLOAT64_RTOL = 1e-9
"""float64 against the authors' float64 run, relative to the largest value of an array."""

FLOAT32_FORWARD = dict(rtol=1e-4, atol=1e-5)
"""float32 outputs against another way to compute them."""

FLOAT64 = dict(rtol=1e-8, atol=1e-10)
"""float64 against another way to compute it."""
