"""Linear support vector machines on frozen features, one per class, judged by average precision.

PCL: Prototypical Contrastive Learning (ICLR 2021, arXiv 2005.04966), section 4.3, and Scaling and
Benchmarking Self-Supervised Visual Representation Learning (ICCV 2019, arXiv 1905.01235), appendix;
compared with `eval_svm` of salesforce/PCL and `svm_utils` of facebookresearch/vissl @09270ed. The solver is
theirs: scikit-learn's LinearSVC. Protocols differ by up to a point and are not comparable:

| | costs | chosen by | objects marked difficult, at test | a class's images in low-shot |
|---|---|---|---|---|
| `pcl` | .5 | the test, if several are given | absent | all drawn images, with all their labels |
| `vissl` | .01 to 1000 | 3-fold cross-validation, per class | left out | its k, and the others' negatives |
| `fair` | 1, 10, 100, .5^4 to .5^19 | the same | left out | the same |

Images of several classes (VOC: 1 present, 0 only difficult, -1 absent) or of one (each class against all
others). Deviations: the solver's seed is always 0; equal scores share a threshold (`average_precision`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmssl.evaluation.average_precision import average_precision
from mmssl.evaluation.features import Features, labelled
from mmssl.evaluation.svm_protocols import (
    FOLDS,
    PROTOCOLS,
    Protocol,
    SvmProtocol,
    check_class_counts,
    check_svm_options,
)
from mmssl.evaluation.svm_solver import Machine, SvmSolver, SvmTask, nearly_unit, require_sklearn


@dataclass
class LowShotResult:
    """Mean AP with k images per class, in per cent.

    Attributes:
        mean: Over the draws, at the best cost.
        std: Over the draws (n - 1; 0 for a single one).
        cost: The cost with the best mean.
        runs: Mean AP of every draw at this cost.
    """

    mean: float
    std: float
    cost: float
    runs: list[float]


@dataclass
class SvmResult:
    """What `linear_svm` found, in per cent.

    Attributes:
        mean_ap: Mean of the average precision over the classes: the figure to report.
        per_class: Average precision of every class; None for one that no test image shows.
        costs: Cost of every class's machine.
        selected_on: What chose among several costs.
        sweep: Mean AP of every cost on what chose.
        top1: Share of images whose best class is right; None with several classes per image.
        low_shot: Results by the number of images per class.
        num_fits: Machines that were trained.
        num_unconverged: Those that stopped at the iteration limit.
        num_train: Training images.
        num_val: Test images.
    """

    mean_ap: float
    per_class: list[float | None]
    costs: list[float]
    selected_on: str
    sweep: dict[float, float]
    top1: float | None
    low_shot: dict[int, LowShotResult] = field(default_factory=dict)
    num_fits: int = 0
    num_unconverged: int = 0
    num_train: int = 0
    num_val: int = 0


def presence(labels: Tensor, num_classes: int) -> Tensor:
    """Which classes every image shows, (N, C) int8: 1 present, 0 only difficult, -1 absent.

    Args:
        labels: (N,) classes, or (N, C) of 1, 0 and -1 already.
        num_classes: C.

    Raises:
        ValueError: A matrix with other columns.

    Example:
        >>> presence(torch.tensor([1, 0]), 2).tolist()
        [[-1, 1], [1, -1]]
    """
    if labels.ndim == 1:
        return (labels[:, None] == torch.arange(num_classes)).to(torch.int8) * 2 - 1
    if labels.shape[1] != num_classes:
        raise ValueError(
            f"The training images have {num_classes} classes, the others {labels.shape[1]}."
        )
    return labels.to(torch.int8)


class _Problem(NamedTuple):
    """Inputs and labels of the training and the test images.

    Attributes:
        inputs: (N, D) float64.
        labels: (N, C) int8 of 1, 0, -1.
        test: (M, D) float64.
        truth: (M, C) int8.
        protocol: How it is solved.
        exclusive: Whether an image shows one class only.
    """

    inputs: np.ndarray
    labels: Tensor
    test: np.ndarray
    truth: Tensor
    protocol: SvmProtocol
    exclusive: bool

    @property
    def num_classes(self) -> int:
        return self.labels.shape[1]

    def targets(self, number: int) -> np.ndarray:
        """(N,) int8 of 1 and -1 of a class; what is only difficult is absent in training."""
        return torch.where(self.labels[:, number] > 0, 1, -1).numpy()

    def decisions(self, machines: Sequence[Machine]) -> Tensor:
        """(M, C) float64 of one machine per class."""
        weights = np.stack([machine.weights for machine in machines], axis=1)
        return torch.from_numpy(self.test @ weights + [machine.bias for machine in machines])

    def by_run(self, machines: Sequence[Machine]) -> list[Tensor]:
        """(M, C) decisions of every run of one machine per class."""
        size = self.num_classes
        starts = range(0, len(machines), size)
        return [self.decisions(machines[start : start + size]) for start in starts]

    def precision(self, decisions: Tensor) -> Tensor:
        """(C,) AP in per cent on the test images; NaN for a class that none shows."""
        ignored = self.truth == 0 if self.protocol.cross_validated else None
        return 100 * average_precision(decisions, self.truth > 0, ignored=ignored)


def _full(problem: _Problem, costs: Sequence[float], solver: SvmSolver) -> SvmResult:
    """Machines trained on all images, at the cost that the protocol chooses."""
    classes = range(problem.num_classes)
    judged = problem.protocol.cross_validated and len(costs) > 1

    def train(pairs: Sequence[tuple[float, int]], title: str, folds: int = 0) -> list[Machine]:
        tasks = (
            SvmTask(problem.inputs, problem.targets(number), cost, folds=folds)
            for cost, number in pairs
        )
        return solver.solve(tasks, len(pairs), title)

    every = [(float(cost), number) for cost in costs for number in classes]
    if judged:
        tried = train(every, "choosing the costs", FOLDS)
        scores = 100 * torch.tensor([machine.score for machine in tried]).view(len(costs), -1)
        chosen = [float(costs[best]) for best in scores.argmax(0)]
        machines = train(list(zip(chosen, classes, strict=True)), "training")
        decisions, means = problem.decisions(machines), scores.mean(1)
    else:
        found = problem.by_run(train(every, "training"))
        means = torch.stack([problem.precision(each).nanmean() for each in found])
        best = int(means.argmax())
        decisions, chosen = found[best], [float(costs[best])] * len(classes)
    several = len(costs) > 1
    how = ("cross-validation" if judged else "test") if several else "one cost"
    sweep = dict(zip(map(float, costs), means.tolist(), strict=True)) if several else {}
    return _result(problem, decisions, costs=chosen, selected_on=how, sweep=sweep)


def _result(
    problem: _Problem,
    decisions: Tensor,
    *,
    costs: list[float],
    selected_on: str,
    sweep: dict[float, float],
) -> SvmResult:
    precision = problem.precision(decisions)
    right = decisions.argmax(1) == problem.truth.argmax(1)
    return SvmResult(
        mean_ap=precision.nanmean().item(),
        per_class=[None if value != value else value for value in precision.tolist()],
        costs=costs,
        selected_on=selected_on,
        sweep=sweep,
        top1=100 * right.double().mean().item() if problem.exclusive else None,
        num_train=len(problem.inputs),
        num_val=len(problem.test),
    )


def draw_low_shot(labels: Tensor, num_shots: int, *, generator: torch.Generator) -> list[Tensor]:
    """Positions of `num_shots` random images of every class.

    Args:
        labels: (N, C) of 1, 0, -1.
        num_shots: Images per class; one that shows several classes may be drawn for each of them.
        generator: Draws.

    Returns:
        Per class (num_shots,) int64 positions.

    Raises:
        ValueError: A class has fewer images.
    """
    drawn = []
    for number, column in enumerate(labels.T):
        members = (column > 0).nonzero()[:, 0]
        if len(members) < num_shots:
            raise ValueError(
                f"Class {number} has {len(members)} training images; {num_shots} cannot be drawn."
            )
        drawn.append(members[torch.randperm(len(members), generator=generator)[:num_shots]])
    return drawn


def _low_shot_task(problem: _Problem, drawn: Sequence[Tensor], number: int, cost: float) -> SvmTask:
    if problem.protocol.cross_validated:
        others = torch.cat([own for other, own in enumerate(drawn) if other != number]).unique()
        others = others[problem.labels[others, number] < 0]
        rows = torch.cat([drawn[number], others])
    else:
        rows = torch.cat(list(drawn))
    return SvmTask(problem.inputs, problem.targets(number), cost, rows.numpy())


def _low_shot(
    problem: _Problem,
    costs: Sequence[float],
    solver: SvmSolver,
    *,
    num_shots: int,
    runs: int,
    generator: torch.Generator,
) -> LowShotResult:
    """Machines trained on a few images of every class, several draws of them."""
    draws = [draw_low_shot(problem.labels, num_shots, generator=generator) for _ in range(runs)]
    tasks = (
        _low_shot_task(problem, drawn, number, float(cost))
        for cost in costs
        for drawn in draws
        for number in range(problem.num_classes)
    )
    count = len(costs) * runs * problem.num_classes
    machines = solver.solve(tasks, count, f"images per class: {num_shots}")
    found = torch.stack(
        [problem.precision(decisions).nanmean() for decisions in problem.by_run(machines)]
    ).view(len(costs), runs)
    best = int(found.mean(1).argmax())
    return LowShotResult(
        mean=found[best].mean().item(),
        std=found[best].std().item() if runs > 1 else 0.0,
        cost=float(costs[best]),
        runs=found[best].tolist(),
    )


def linear_svm(
    train: Features,
    val: Features,
    *,
    protocol: Protocol = "pcl",
    costs: Sequence[float] | None = None,
    low_shot: Sequence[int] = (),
    runs: int = 5,
    jobs: int = 1,
    classes: Sequence[str] | None = None,
    seed: int = 0,
    progress: str = "",
) -> SvmResult:
    """Mean average precision of linear SVMs on features of (nearly) unit length.

    Squared hinge, L2 penalty, dual, tolerance 1e-4, at most 2000 iterations, positive images weigh twice.
    The same call gives the same result, for any number of jobs.

    Args:
        train: Training features; labels (N,), -1 where unknown, or (N, C) of 1, 0, -1.
        val: Features to judge by, labelled alike.
        protocol: See the table at the top of this file.
        costs: Instead of the protocol's.
        low_shot: Train also with this many random images per class, for each entry.
        runs: Draws of these images.
        jobs: Processes that train; -1 takes all cores. Each first imports all libraries, which is only
            worth it for the protocols with many costs.
        classes: Names of the classes for messages.
        seed: Of the draws.
        progress: Title of the progress bars; empty shows none.

    Raises:
        ImportError: scikit-learn is not installed.
        ValueError: No such protocol, no cost above 0, too few images of a class, or other classes.
    """
    require_sklearn()
    check_svm_options(protocol, costs=costs, low_shot=low_shot, runs=runs)
    chosen = PROTOCOLS[protocol]
    costs = chosen.costs if costs is None else list(costs)
    problem = _problem(labelled(train), labelled(val), chosen)
    check_class_counts(
        (problem.labels > 0).sum(0),
        len(problem.labels),
        protocol,
        low_shot=low_shot,
        classes=classes,
    )
    if not (problem.truth > 0).any():
        raise ValueError("No test image shows any class; average precision is undefined.")
    solver = SvmSolver(jobs, progress)
    result = _full(problem, costs, solver)
    for num_shots in low_shot:
        # Seeded anew, so that few images are the first of many, whichever numbers are asked for.
        generator = torch.Generator().manual_seed(seed)
        result.low_shot[num_shots] = _low_shot(
            problem, costs, solver, num_shots=num_shots, runs=runs, generator=generator
        )
    result.num_fits, result.num_unconverged = solver.fits, solver.unconverged
    return result


def _problem(train: Features, val: Features, protocol: SvmProtocol) -> _Problem:
    if not len(train.labels) or not len(val.labels):
        raise ValueError(
            f"A linear SVM needs labels: {len(train.labels)} training and {len(val.labels)} test images "
            "have one."
        )
    if train.labels.ndim != val.labels.ndim:
        raise ValueError(
            "Either both sets have one class per image or both one label per class, got labels "
            f"{tuple(train.labels.shape)} and {tuple(val.labels.shape)}."
        )
    single = train.labels.ndim == 1
    num_classes = int(train.labels.max()) + 1 if single else train.labels.shape[1]
    if single and int(val.labels.max()) >= num_classes:
        raise ValueError(
            f"The test images have class {int(val.labels.max())}, which no training image has."
        )
    return _Problem(
        inputs=nearly_unit(train.features),
        labels=presence(train.labels, num_classes),
        test=nearly_unit(val.features),
        truth=presence(val.labels, num_classes),
        protocol=protocol,
        exclusive=single,
    )
