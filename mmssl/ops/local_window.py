"""What the operators on sliding windows share: how their arguments are read, and the type of their sums."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import SupportsIndex

import torch
from torch import Tensor


def _number(value: object) -> int | None:
    """A whole number of any library as Python's; None for all else, truth values included."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def whole_number(value: SupportsIndex, name: str, *, least: int) -> int:
    """`value`, checked.

    Args:
        value: A whole number of Python or another library.
        name: What it is, for the message.
        least: Smallest number allowed.

    Raises:
        ValueError: It is no whole number, or below `least`.

    Example:
        >>> whole_number(2, "groups", least=1)
        2
    """
    number = _number(value)
    if number is None or number < least:
        raise ValueError(f"{name} is a whole number of at least {least}, not {value!r}")
    return number


def pair(
    value: SupportsIndex | Sequence[SupportsIndex], name: str, *, least: int
) -> tuple[int, int]:
    """`value` for both axes, checked.

    Args:
        value: One whole number for both axes, or (vertical, horizontal).
        name: What it is, for the message.
        least: Smallest number allowed.

    Raises:
        ValueError: It is not one or two whole numbers, or one is below `least`.

    Example:
        >>> pair(3, "kernel_size", least=1), pair([1, 2], "stride", least=1)
        ((3, 3), (1, 2))
    """
    both = value if isinstance(value, Sequence) else (value, value)
    numbers = [_number(each) for each in both]
    if len(numbers) != 2 or any(each is None or each < least for each in numbers):
        raise ValueError(
            f"{name} is a whole number of at least {least}, or two of them (vertical, horizontal), "
            f"not {value!r}"
        )
    vertical, horizontal = numbers
    assert vertical is not None and horizontal is not None
    return vertical, horizontal


def sum_type(*tensors: Tensor) -> torch.dtype:
    """The type of sums over `tensors`: the widest of theirs, float32 at least.

    Args:
        *tensors: Of floating-point types.

    Example:
        >>> sum_type(torch.zeros(1, dtype=torch.bfloat16), torch.zeros(1, dtype=torch.half))
        torch.float32
    """
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype
