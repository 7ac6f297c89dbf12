"""IdleCohorts: what the optimizer owes to rows that got no gradient for a while.

Parametric Instance Classification for Unsupervised Visual Feature Learning (PIC), 2020, arXiv 2006.14618,
"classification weight update correction"; see `mmssl.ops.idle_sgd`.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mmssl.ops.idle_sgd import compose, idle_operator, idle_power

Correction = Literal["exact", "closed_form", "none"]
CORRECTIONS = ("exact", "closed_form", "none")


class IdleCohorts:
    """One operator for all rows that stopped at the same step; a cohort goes when its last row does.

    `exact` multiplies the operator of every step into every cohort, so any change of the learning rate,
    momentum or weight decay is followed. `closed_form` raises the operator of the newest settings to the
    number of idle steps, which is exact for constant settings only. `none` does nothing.

    The tables are small and stay on the CPU, whatever becomes of the model: each change of their length
    would otherwise stop a GPU, and a change of the model's type would round the operators.

    Args:
        num_rows: Rows that are idle from step 0 on.
        correction: `exact`, `closed_form` or `none`.

    Attributes:
        births: (T,) int64 finished steps when each cohort began, ascending: its name.
        operators: (T, 2, 2) float64 product of the operators of the steps since; the identity unless
            `exact`.
        counts: (T,) int64 rows in each.

    Raises:
        ValueError: An unknown correction.
    """

    def __init__(self, num_rows: int, correction: Correction = "exact") -> None:
        if correction not in CORRECTIONS:
            raise ValueError(f"correction must be one of {CORRECTIONS}, got {correction!r}.")
        self.correction = correction
        self.births = torch.zeros(1, dtype=torch.long, device="cpu")
        self.operators = _identity()
        self.counts = torch.full((1,), num_rows, device="cpu")

    def join(self, birth: int, num_rows: int) -> None:
        """Rows become idle after `birth` finished steps, the newest cohort or a newer one."""
        if not num_rows:
            return
        if len(self.births) and int(self.births[-1]) == birth:
            self.counts[-1] += num_rows
            return
        self.births = torch.cat([self.births, self.births.new_tensor([birth])])
        self.operators = torch.cat([self.operators, _identity()])
        self.counts = torch.cat([self.counts, self.counts.new_tensor([num_rows])])

    def owed(self, cohort: Tensor, now: int, settings: tuple[float, float, float]) -> Tensor:
        """The operator that brings rows up to date.

        Args:
            cohort: (n,) birth of the cohort of each row, on the CPU.
            now: Finished steps.
            settings: Learning rate, momentum and weight decay of the last step (`closed_form`).

        Returns:
            (n, 2, 2) float64, on the CPU.
        """
        place = torch.searchsorted(self.births, cohort.to(self.births))
        if self.correction == "closed_form":
            lr, momentum, decay = settings
            powers = idle_power(now - self.births, lr, momentum=momentum, weight_decay=decay)
            return powers[place]
        return self.operators[place]

    def leave(self, cohort: Tensor) -> None:
        """Rows whose cohorts have these births, (n,) on the CPU, are idle no more."""
        place = torch.searchsorted(self.births, cohort.to(self.births))
        left = self.counts - torch.bincount(place, minlength=len(self.births))
        alive = left > 0
        self.births, self.operators = self.births[alive], self.operators[alive]
        self.counts = left[alive]

    def advance(self, lr: float, *, momentum: float, weight_decay: float) -> None:
        """A step of the optimizer that none of the rows took part in."""
        if self.correction == "exact":
            step = idle_operator(lr, momentum=momentum, weight_decay=weight_decay)
            self.operators = compose(step, self.operators)

    def restart(self, birth: int) -> None:
        """All rows are up to date after `birth` finished steps."""
        total = self.counts.sum(0, keepdim=True)
        self.births = self.births.new_tensor([birth])
        self.operators = _identity()
        self.counts = total

    def load(self, births: Tensor, operators: Tensor, cohort: Tensor) -> None:
        """Take over cohorts of a checkpoint.

        Args:
            births: (T,) of all ranks, ascending.
            operators: (T, 2, 2).
            cohort: (n,) birth of the cohort of each idle row of this rank.
        """
        births = births.to("cpu", torch.long)
        place = torch.searchsorted(births, cohort.to("cpu", torch.long))
        counts = torch.bincount(place, minlength=len(births))
        alive = counts > 0
        self.births, self.counts = births[alive], counts[alive]
        self.operators = operators.to("cpu", torch.float64)[alive]


def _identity() -> Tensor:
    """(1, 2, 2): nothing is owed."""
    return torch.eye(2, dtype=torch.float64, device="cpu")[None]
