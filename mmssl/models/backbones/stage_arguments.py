"""check_stages: per-stage arguments of a hierarchical network that fit each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def check_stages(per_stage: Mapping[str, Sequence], out_indices: Sequence[int]) -> int:
    """The number of stages.

    Args:
        per_stage: Arguments with one entry for each stage, by name.
        out_indices: Stages whose maps are returned.

    Raises:
        TypeError: An argument is no sequence.
        ValueError: Arguments of different lengths, or stages that are not ascending or do not exist.

    Example:
        >>> check_stages({"depths": (1, 1), "num_heads": (2, 4)}, (1,))
        2
    """
    for name, values in {**per_stage, "out_indices": out_indices}.items():
        if not isinstance(values, Sequence) or isinstance(values, str):
            raise TypeError(f"{name} must be a list or tuple with stages, got {values!r}.")
    lengths = {name: len(values) for name, values in per_stage.items()}
    count = next(iter(lengths.values()))
    if set(lengths.values()) != {count}:
        raise ValueError(f"Arguments must have one entry for each stage, got lengths {lengths}.")
    if not out_indices or list(out_indices) != sorted(set(out_indices) & set(range(count))):
        raise ValueError(
            f"out_indices must be ascending stages below {count}, got {tuple(out_indices)}."
        )
    return count
