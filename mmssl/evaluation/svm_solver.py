"""The solver of linear SVMs: scikit-learn's LinearSVC, many machines over the same features."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from mmssl.evaluation.average_precision import average_precision

MAX_ITERATIONS = 2000


def require_sklearn() -> None:
    """Say how to install scikit-learn where it is missing.

    Raises:
        ImportError: It is.
    """
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "Linear SVMs need scikit-learn; install it with `pip install '.[evaluation]'` in the checkout."
        ) from error


def nearly_unit(features: Tensor) -> np.ndarray:
    """x / (|x| + 1e-5) in float32, as float64, which the solver computes in.

    Args:
        features: (N, D).
    """
    features = features.float()
    return (features / (features.norm(dim=1, keepdim=True) + 1e-5)).double().numpy()


class SvmTask(NamedTuple):
    """One machine to train.

    Attributes:
        inputs: (N, D) of all images, the same array for all tasks: processes share it.
        targets: (N,) 1 and -1.
        cost: C.
        rows: (n,) positions of the images to train on; all if None.
        folds: If above 0, the machine is only judged, by cross-validation.
    """

    inputs: np.ndarray
    targets: np.ndarray
    cost: float
    rows: np.ndarray | None = None
    folds: int = 0


class Machine(NamedTuple):
    """(D,) weights and the bias; AP over the folds; how many fits it took and stopped too early."""

    weights: np.ndarray
    bias: float
    score: float
    fits: int
    unconverged: int


def _fit(inputs: np.ndarray, targets: np.ndarray, cost: float) -> tuple[np.ndarray, float, bool]:
    """Weights, bias, and whether the solver converged."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    solver = LinearSVC(
        C=cost,
        penalty="l2",
        loss="squared_hinge",
        dual=True,
        tol=1e-4,
        class_weight={1: 2, -1: 1},
        intercept_scaling=1.0,
        max_iter=MAX_ITERATIONS,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # counted instead
        solver.fit(inputs, targets)
    return solver.coef_[0], float(solver.intercept_[0]), int(solver.n_iter_) < MAX_ITERATIONS


def _solve(task: SvmTask) -> Machine:
    """Train a machine, or its substitutes on all folds but one."""
    if not task.folds:
        rows = slice(None) if task.rows is None else task.rows
        weights, bias, converged = _fit(task.inputs[rows], task.targets[rows], task.cost)
        return Machine(weights, bias, 0.0, 1, int(not converged))
    from sklearn.model_selection import StratifiedKFold

    scores, unconverged = [], 0
    for fit, held in StratifiedKFold(task.folds).split(task.inputs, task.targets):
        weights, bias, converged = _fit(task.inputs[fit], task.targets[fit], task.cost)
        decision = torch.from_numpy(task.inputs[held] @ weights + bias)
        truth = torch.from_numpy(task.targets[held] > 0)
        scores.append(average_precision(decision, truth, kind="step").item())
        unconverged += not converged
    return Machine(weights, bias, float(np.mean(scores)), task.folds, unconverged)


@dataclass
class SvmSolver:
    """Trains machines, several at a time, and counts.

    Attributes:
        jobs: Processes.
        progress: Title of the bars; empty shows none.
        fits: Machines so far.
        unconverged: Those that stopped at the limit.
    """

    jobs: int
    progress: str
    fits: int = 0
    unconverged: int = 0

    def solve(self, tasks: Iterable[SvmTask], count: int, title: str) -> list[Machine]:
        """The machines in the order of the tasks."""
        # Processes, not threads: the solver's random numbers are a global of the process.
        from sklearn.utils.parallel import Parallel, delayed

        found = Parallel(n_jobs=self.jobs, return_as="generator")(
            delayed(_solve)(task) for task in tasks
        )
        title = f"{self.progress}: {title}" if self.progress else ""
        machines = list(track(found, title, total=count, disable=not title))
        self.fits += sum(machine.fits for machine in machines)
        self.unconverged += sum(machine.unconverged for machine in machines)
        return machines
