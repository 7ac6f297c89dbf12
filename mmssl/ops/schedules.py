"""Schedules of method parameters (momentum, temperature, loss weight): (step, total) -> float.

Learning rate and weight decay belong to the parameter schedulers of the optimizer instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

Schedule = Callable[[int, int], float]


@dataclass(frozen=True)
class Constant:
    """The same value at every step.

    Example:
        >>> Constant(0.999)(step=7, total=10)
        0.999
    """

    value: float

    def __call__(self, step: int, total: int) -> float:
        return self.value


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from `start` at step 0 to `end` at step `total`, or at step `length` if that is given.

        v(t) = end - (end - start) * (cos(pi * t / total) + 1) / 2

    PixPro's momentum has a length of its own, int(images / ranks / batch of a rank * epochs): some steps more
    than the run has. Behind `length` the value stays at `end`.

    Example:
        >>> [Cosine(0.99, 1.0)(step, 100) for step in (0, 50, 100)]
        [0.99, 0.995, 1.0]
        >>> [Cosine(0.99, 1.0, length=50)(step, 100) for step in (0, 50, 100)]
        [0.99, 1.0, 1.0]
    """

    start: float
    end: float
    length: int | None = None

    def __call__(self, step: int, total: int) -> float:
        if self.length is not None:
            step, total = min(step, self.length), self.length
        return self.end - (self.end - self.start) * (math.cos(math.pi * step / total) + 1) / 2


@dataclass(frozen=True)
class LinearWarmup:
    """`num_steps` values from `start` to `end`, both included, then `end`.

    DINO's teacher temperature, which counts epochs: dict(start=0.04, end=0.07, num_steps=30) has its
    final value from the 30th epoch on.

    Example:
        >>> [round(LinearWarmup(0.04, 0.07, 31)(step, 100), 6) for step in (0, 15, 30, 99)]
        [0.04, 0.055, 0.07, 0.07]
    """

    start: float
    end: float
    num_steps: int

    def __call__(self, step: int, total: int) -> float:
        if step >= self.num_steps:
            return self.end
        return self.start + (self.end - self.start) * step / max(self.num_steps - 1, 1)


@dataclass(frozen=True)
class Switched:
    """`before` up to step `at`, then `after`.

    DenseCL's warm-up, without the dense loss: dict(before=0.0, after=0.5, at=1000).

    Example:
        >>> [Switched(0.0, 0.5, at=1000)(step, 9000) for step in (0, 999, 1000)]
        [0.0, 0.0, 0.5]
    """

    before: float
    after: float
    at: int

    def __call__(self, step: int, total: int) -> float:
        return self.before if step < self.at else self.after


SCHEDULES = {kind.__name__: kind for kind in (Constant, Cosine, LinearWarmup, Switched)}


def build_schedule(schedule: Schedule | dict | float) -> Schedule:
    """A schedule from a number, a config dict such as `dict(type='Cosine', start=.99, end=1.)`, or itself.

    Raises:
        KeyError: The dict names no known schedule.
    """
    if isinstance(schedule, (int, float)):
        return Constant(float(schedule))
    if isinstance(schedule, dict):
        arguments = dict(schedule)
        kind = arguments.pop("type")
        if kind not in SCHEDULES:
            raise KeyError(f"Unknown schedule {kind!r}; choose one of {sorted(SCHEDULES)}.")
        return SCHEDULES[kind](**arguments)
    return schedule
