"""Sums that do not depend on the order of their terms, nor on how these are spread over processes.

Every term is rounded to an integer multiple of one power of two, chosen so coarse that no partial sum
needs more than the 53 bits of a float64: all additions are then exact, and exact additions commute.
"""

from __future__ import annotations

import math

from torch import Tensor


def grid_scale(bound: float, count: int) -> float:
    """How many steps of the grid a unit has, for `count` terms of at most `bound` in magnitude.

    Half a step, the error of a term, is at most bound * count * 2^-51: for a million unit rows less than
    the 2^-25 by which float32 itself misses a value of 0.1.

    Args:
        bound: Not below the magnitude of any term; finite.
        count: Not below the number of terms of all processes together.

    Returns:
        A power of two.

    Example:
        >>> grid_scale(1.0, 1000) == 2.0 ** (52 - 1 - 10)
        True
    """
    # bound < 2^exponent and count < 2^bits; the remaining bit is for the rounding of the terms
    exponent, bits = math.frexp(bound)[1], int(count).bit_length()
    return math.ldexp(1.0, min(52 - exponent - bits, 1000))


def on_grid(values: Tensor, scale: float) -> Tensor:
    """Values (any shape) in steps of the grid: float64 integers, ready to be summed in any order."""
    return values.double().mul_(scale).round_()
