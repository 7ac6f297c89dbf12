"""Multinomial logistic regression on frozen features: the linear protocol of small data sets.

Do Better ImageNet Models Transfer Better? (Kornblith et al., CVPR 2019, arXiv 1805.08974), appendix A.4;
SimCLR (arXiv 2002.05709), appendix B.8; BYOL (arXiv 2006.07733), appendix D.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from rich.progress import track
from torch import Tensor
from torch.nn import functional as F

from mmssl.evaluation.features import Features
from mmssl.evaluation.linear_probe import hold_out, labelled_pair
from mmssl.ops.collectives import rank

Metric = Literal["top1", "mean_per_class"]
NUM_PENALTIES = 45
DEFAULT_PENALTIES = tuple(
    10.0 ** (-6 + 11 * step / (NUM_PENALTIES - 1)) for step in range(NUM_PENALTIES)
)
"""45 numbers from 1e-6 to 1e5, evenly spaced in their logarithms."""


@dataclass
class LogisticResult:
    """What a logistic regression found; accuracies in per cent.

    Attributes:
        top1: Accuracy on the validation images.
        top5: The same, top-5.
        mean_per_class: Mean over the classes of the accuracy on the images of one.
        penalty: The penalty that was chosen.
        selected_on: What chose it.
        metric: By which accuracy.
        sweep: That accuracy of every penalty on the images that were held out.
        num_unconverged: Regressions that stopped at the limit of iterations.
        num_train: Labelled training images.
        num_val: Labelled validation images.
    """

    top1: float
    top5: float
    mean_per_class: float
    penalty: float
    selected_on: str
    metric: str
    sweep: dict[float, float] = field(default_factory=dict)
    num_unconverged: int = 0
    num_train: int = 0
    num_val: int = 0


def check_logistic_options(
    *,
    penalties: Sequence[float] = DEFAULT_PENALTIES,
    metric: str = "top1",
    held_out: float = 0.2,
    max_iter: int = 1000,
) -> None:
    """Refuse options of `logistic_regression` that no images can satisfy.

    Args:
        penalties: As there.
        metric: As there.
        held_out: As there.
        max_iter: As there.

    Raises:
        ValueError: No penalty or one that is not positive, another metric, a share outside of (0, 1), or no
            iteration.
    """
    if not penalties or min(penalties) <= 0 or max_iter < 1 or not 0 < held_out < 1:
        some = ", ".join(f"{each:g}" for each in penalties[:5]) or "none"
        raise ValueError(
            "A logistic regression needs penalties above 0, held_out between 0 and 1 and max_iter >= 1, "
            f"got the penalties {some}, held_out={held_out}, max_iter={max_iter}."
        )
    if metric not in ("top1", "mean_per_class"):
        raise ValueError(f"metric must be 'top1' or 'mean_per_class', got {metric!r}.")


def accuracies(scores: Tensor, labels: Tensor) -> dict[str, float]:
    """`top1`, `top5` and `mean_per_class` of scores (N, C), in per cent.

    Args:
        scores: The higher, the likelier.
        labels: (N,) int64; classes without an image do not count.

    Example:
        >>> accuracies(torch.eye(3), torch.tensor([0, 1, 1]))["mean_per_class"]
        75.0
    """
    guesses = scores.topk(min(5, scores.shape[1]), dim=1).indices
    right = guesses == labels[:, None]
    images = labels.bincount()
    hits = labels[right[:, 0]].bincount(minlength=len(images))
    shown = images > 0
    return dict(
        top1=100 * right[:, 0].double().mean().item(),
        top5=100 * right.any(dim=1).double().mean().item(),
        mean_per_class=100 * (hits[shown].double() / images[shown]).mean().item(),
    )


class _Regression:
    """Weights (C, D) and biases (C,) that minimise, by L-BFGS,

        sum_n -log softmax(W x_n + b)[y_n] + penalty / 2 |W|^2

    which is scikit-learn's objective with C = 1 / penalty, divided by its C. A fit starts where the last
    one ended.
    """

    def __init__(self, features: Tensor, labels: Tensor, num_classes: int, max_iter: int) -> None:
        self.features, self.labels, self.max_iter = features, labels, max_iter
        self.weight = features.new_zeros(num_classes, features.shape[1], requires_grad=True)
        self.bias = features.new_zeros(num_classes, requires_grad=True)

    def fit(self, penalty: float) -> bool:
        """Go to the minimum; whether it was reached before the limit."""
        solver = torch.optim.LBFGS(
            [self.weight, self.bias],
            max_iter=self.max_iter,
            max_eval=25 * self.max_iter,  # the line search takes some for each iteration
            tolerance_grad=1e-6,
            tolerance_change=1e-10,
            history_size=20,
            line_search_fn="strong_wolfe",
        )
        # means and sums have one minimum; those of means do not grow with the images
        share = penalty / (2 * len(self.labels))

        def objective() -> Tensor:
            solver.zero_grad()
            loss = F.cross_entropy(self.scores(self.features), self.labels)
            loss = loss + share * self.weight.square().sum()
            loss.backward()
            return loss

        with torch.enable_grad():
            solver.step(objective)
        (state,) = solver.state.values()
        return state["n_iter"] < self.max_iter

    def scores(self, features: Tensor) -> Tensor:
        """(N, C) of features (N, D)."""
        return F.linear(features, self.weight, self.bias)


def logistic_regression(
    train: Features,
    val: Features,
    *,
    penalties: Sequence[float] = DEFAULT_PENALTIES,
    metric: Metric = "top1",
    held_out: float = 0.2,
    max_iter: int = 1000,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: str = "",
) -> LogisticResult:
    """Accuracy of a multinomial logistic regression, its L2 penalty chosen on held-out training images.

    The penalty that is best there, of equal ones the largest, is the one of a regression on all training
    images. Features are used as they are; sums are in float64. The bias is not penalised.

    Args:
        train: Training features. Images without label are left out.
        val: Validation features.
        penalties: lambda of lambda / 2 |W|^2, beside the sum of the cross-entropies over the images.
        metric: What chooses: the accuracy over images or the mean of the accuracies of the classes. Both
            are returned. Aircraft, Pets, Caltech-101 and Flowers are reported by the mean.
        held_out: Share of each class that is held out.
        max_iter: Of L-BFGS, for each penalty.
        seed: Of the images that are held out.
        device: Where it is computed.
        progress: Title of the progress bar; empty shows none.

    Raises:
        ValueError: No labelled image in one of the sets, a class of the validation set that is not in the
            training set, or an option without a meaning.
    """
    check_logistic_options(penalties=penalties, metric=metric, held_out=held_out, max_iter=max_iter)
    train, val = labelled_pair(train, val)
    features, labels = train.features.to(device, torch.float64), train.labels.to(device)
    num_classes = int(labels.max()) + 1
    # from the strongest on: the next minimum is not far
    ordered = sorted(set(map(float, penalties)), reverse=True)
    sweep, unconverged = {}, 0
    if len(ordered) > 1:
        fit, held = (part.to(device) for part in hold_out(train.labels, held_out, seed=seed))
        part = _Regression(features[fit], labels[fit], num_classes, max_iter)
        for penalty in track(ordered, progress, disable=not progress or rank() != 0):
            unconverged += not part.fit(penalty)
            with torch.no_grad():
                found = accuracies(part.scores(features[held]), labels[held])
            sweep[penalty] = found[metric]
    penalty = max(ordered, key=lambda each: sweep.get(each, 0.0))
    whole = _Regression(features, labels, num_classes, max_iter)
    unconverged += not whole.fit(penalty)
    with torch.no_grad():
        scores = whole.scores(val.features.to(device, torch.float64))
    return LogisticResult(
        **accuracies(scores, val.labels.to(device)),
        penalty=penalty,
        selected_on="held_out" if sweep else "one penalty",
        metric=metric,
        sweep=sweep,
        num_unconverged=unconverged,
        num_train=len(labels),
        num_val=len(val.labels),
    )
