"""Linear classification of cached features, with a sweep of learning rates trained in one pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from rich.progress import track
from torch import Tensor
from torch.nn import functional as F

from mmssl.evaluation.features import Features, labelled
from mmssl.evaluation.linear_heads import LinearHeads
from mmssl.ops.collectives import rank

DEFAULT_LRS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


@dataclass
class LinearProbeResult:
    """What a linear probe found; accuracies in per cent.

    Attributes:
        top1: Validation accuracy behind the last epoch: the figure to report.
        top5: The same, top-5.
        lr: The learning rate, for a batch of 256.
        best_epoch_top1: Best validation accuracy over the epochs. Optimistic: the validation set
            chose the epoch.
        best_epoch: That epoch, counted from 1.
        selected_on: What chose the learning rate.
        sweep: Top-1 of every learning rate on what chose among them.
        curve: (epoch, validation top-1) of the chosen learning rate.
        num_train: Labelled training images.
        num_val: Labelled validation images.
    """

    top1: float
    top5: float
    lr: float
    best_epoch_top1: float
    best_epoch: int
    selected_on: str
    sweep: dict[float, float] = field(default_factory=dict)
    curve: list[tuple[int, float]] = field(default_factory=list)
    num_train: int = 0
    num_val: int = 0


def hold_out(labels: Tensor, share: float, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Positions to fit on and positions held out, stratified: every class gives the same share.

    Args:
        labels: (N,) classes.
        share: Share that is held out, rounded per class; a class keeps at least one image to fit on.
        seed: Of the draw.

    Returns:
        Two sorted position tensors.

    Raises:
        ValueError: Nothing would be held out.
    """
    generator = torch.Generator().manual_seed(seed)
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        members = (labels == label).nonzero()[:, 0]
        count = min(round(len(members) * share), len(members) - 1)
        held[members[torch.randperm(len(members), generator=generator)[:count]]] = True
    if not held.any():
        raise ValueError(
            f"A share of {share} of {len(labels)} images in {len(labels.unique())} classes holds no "
            "image out. Use more images, a larger share, or a single candidate (learning rate, penalty)."
        )
    return (~held).nonzero()[:, 0], held.nonzero()[:, 0]


def _shared_labels(sets: Sequence[Features], val: Features) -> Tensor:
    """The labels of the training images, after a look at whether a probe makes sense."""
    labels = sets[0].labels
    if not len(labels) or not len(val.labels):
        raise ValueError(
            f"A linear classifier needs labels: {len(labels)} training and {len(val.labels)} validation "
            "images have one. Put the images into one folder per class."
        )
    if not all(torch.equal(data.labels, labels) for data in sets):
        raise ValueError(
            "The sets of training features must show the same images in the same order."
        )
    unknown = sorted(set(val.labels.tolist()) - set(labels.tolist()))
    if unknown:
        raise ValueError(
            f"The validation images have classes that no training image has: {unknown[:10]}."
        )
    return labels


def _normalized(sets: Sequence[Features], normalize: str) -> list[Tensor]:
    """Features of all sets; `standardize` goes by the statistics of the first."""
    features = [data.features for data in sets]
    if normalize == "l2":
        return [F.normalize(rows, dim=1) for rows in features]
    if normalize == "standardize":
        mean = features[0].mean(dim=0)
        std = features[0].std(dim=0, correction=0).clamp_min(1e-6)
        return [(rows - mean) / std for rows in features]
    return features


class _Data(NamedTuple):
    """What heads are trained on and judged by.

    Attributes:
        train: One or several (N, D), random crops of the same images, used in turn.
        labels: (N,) their classes.
        val: (M, D) features that are classified.
        val_labels: (M,) their classes.
    """

    train: list[Tensor]
    labels: Tensor
    val: Tensor
    val_labels: Tensor

    def held_out(self, share: float, *, seed: int) -> _Data:
        """A part of the training images, and another part of them to judge by; see `hold_out`."""
        fit, held = hold_out(self.labels, share, seed=seed)
        return _Data(
            [features[fit] for features in self.train],
            self.labels[fit],
            self.train[0][held],
            self.labels[held],
        )


@dataclass(frozen=True)
class _Recipe:
    """How heads are trained: the arguments of `linear_probe` that have these names."""

    epochs: int
    batch_size: int
    warmup_epochs: float
    weight_decay: float
    nesterov: bool
    label_smoothing: float
    max_grad_norm: float | None
    batch_norm: bool
    seed: int
    device: torch.device | str

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if not 0 <= self.warmup_epochs < self.epochs:
            raise ValueError(
                f"warmup_epochs must be at least 0 and less than the {self.epochs} epochs, got "
                f"{self.warmup_epochs}."
            )
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(
                f"label_smoothing must be at least 0 and below 1, got {self.label_smoothing}."
            )
        if self.max_grad_norm is not None and not self.max_grad_norm > 0:
            raise ValueError(
                f"max_grad_norm must be positive, or None for no limit, got {self.max_grad_norm}."
            )

    def fit(
        self, data: _Data, lrs: Sequence[float], *, evaluate_every: int, title: str
    ) -> list[tuple[int, Tensor]]:
        """Train a head per learning rate; (epoch, `LinearHeads.accuracy`) of every validation."""
        heads = self._heads(data, lrs)
        generator = torch.Generator().manual_seed(self.seed)
        per_epoch = math.ceil(len(data.labels) / self.batch_size)
        curve = []
        for epoch in track(range(self.epochs), title, disable=not title or rank() != 0):
            order = torch.randperm(len(data.labels), generator=generator)
            features = data.train[epoch % len(data.train)]
            for number, batch in enumerate(order.split(self.batch_size)):
                if self.batch_norm and len(batch) == 1:
                    continue  # one image has no batch statistics
                heads.step(
                    features[batch].to(self.device),
                    data.labels[batch].to(self.device),
                    self._factor(epoch * per_epoch + number, per_epoch),
                )
            if (epoch + 1) % evaluate_every == 0 or epoch + 1 == self.epochs:
                curve.append((epoch + 1, heads.accuracy(data.val, data.val_labels)))
        return curve

    def _heads(self, data: _Data, lrs: Sequence[float]) -> LinearHeads:
        """Untrained heads."""
        return LinearHeads(
            data.val.shape[1],
            int(data.labels.max()) + 1,
            [lr * self.batch_size / 256 for lr in lrs],
            weight_decay=self.weight_decay,
            nesterov=self.nesterov,
            label_smoothing=self.label_smoothing,
            max_grad_norm=self.max_grad_norm,
            batch_norm=self.batch_norm,
            seed=self.seed,
            device=self.device,
        )

    def _factor(self, step: int, per_epoch: int) -> float:
        """Share of the learning rate at an iteration, both counted from 0."""
        warmup = self.warmup_epochs * per_epoch
        if step < warmup:
            return step / warmup
        return 0.5 * (1 + math.cos(math.pi * (step / (self.epochs * per_epoch))))


def _best(scores: Tensor) -> int:
    """The head with the best top-1; a few images make ties, which the lower cross-entropy breaks."""
    return max(
        range(len(scores)), key=lambda head: (scores[head, 0].item(), -scores[head, 2].item())
    )


def _sweep(lrs: Sequence[float], scores: Tensor) -> dict[float, float]:
    """Top-1 of every learning rate."""
    return dict(zip(map(float, lrs), scores[:, 0].tolist(), strict=True))


def labelled_pair(train: Features, val: Features) -> tuple[Features, Features]:
    """The labelled training and validation images.

    Raises:
        ValueError: None in one of the sets, or a class of the validation images that no training image has.
    """
    train, val = labelled(train), labelled(val)
    _shared_labels([train], val)
    return train, val


def _prepared(sets: Sequence[Features], val: Features, normalize: str) -> _Data:
    """The labelled images of all sets, normalised."""
    sets, val = [labelled(data) for data in sets], labelled(val)
    labels = _shared_labels(sets, val)
    *inputs, val_inputs = _normalized([*sets, val], normalize)
    return _Data(inputs, labels, val_inputs, val.labels)


def _result(
    data: _Data,
    lrs: Sequence[float],
    curve: Sequence[tuple[int, Tensor]],
    *,
    sweep: dict[float, float],
    selected_on: str,
) -> LinearProbeResult:
    """The best of the heads that were trained on all images."""
    last = curve[-1][1]
    chosen = _best(last)
    points = [(epoch, scores[chosen, 0].item()) for epoch, scores in curve]
    best_epoch, best = max(points, key=lambda point: point[1])
    return LinearProbeResult(
        top1=last[chosen, 0].item(),
        top5=last[chosen, 1].item(),
        lr=float(lrs[chosen]),
        best_epoch_top1=best,
        best_epoch=best_epoch,
        selected_on=selected_on if sweep else "one learning rate",
        sweep=sweep,
        curve=points,
        num_train=len(data.labels),
        num_val=len(data.val_labels),
    )


def linear_probe(
    train: Features | Sequence[Features],
    val: Features,
    *,
    lrs: Sequence[float] = DEFAULT_LRS,
    epochs: int = 100,
    batch_size: int = 256,
    warmup_epochs: float = 0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    label_smoothing: float = 0.0,
    max_grad_norm: float | None = None,
    normalize: Literal["none", "l2", "standardize"] = "none",
    batch_norm: bool = False,
    select_on: Literal["held_out", "val"] = "held_out",
    held_out: float = 0.1,
    evaluate_every: int = 1,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: str = "",
) -> LinearProbeResult:
    """Accuracy of a linear classifier on frozen features.

    SGD with momentum 0.9, batches of `batch_size`, learning rate `lr * batch_size / 256`, cosine to 0
    per iteration. All learning rates are trained in one pass over the features. The best of them is
    chosen on a part of the training images that is held out, and trained again on all of them;
    choosing on the validation images instead is what many papers do, and optimistic. The same call
    gives the same result.

    CARE's protocol is `lrs=[0.2], epochs=80, batch_norm=True` on random training crops; MoBY's is
    `lrs=[0.5], batch_size=512, warmup_epochs=5, nesterov=True, label_smoothing=0.1, max_grad_norm=5`.

    Args:
        train: Training features; several of the same images (one per epoch of random crops) are
            used in turn. Images without label are left out.
        val: Validation features.
        lrs: Learning rates for a batch of 256.
        epochs: Passes over the training features.
        batch_size: At most as many images as there are.
        warmup_epochs: Epochs in which the learning rate grows linearly from 0; behind them it is on
            the cosine of the whole training, as if there had been no warm-up.
        weight_decay: L2 penalty.
        nesterov: Nesterov's momentum instead of the plain one.
        label_smoothing: Share of the target that is spread over all classes, below 1.
        max_grad_norm: Longest gradient of a classifier; longer ones are scaled down to it.
        normalize: `l2` gives every feature unit length; `standardize` gives every channel mean 0 and
            variance 1 on the training features, which makes one sweep fit every backbone.
        batch_norm: BatchNorm behind the classifier (CARE).
        select_on: What chooses among several learning rates.
        held_out: Share of the training images that is held out for it.
        evaluate_every: Epochs between validations.
        seed: Of weights, order and held-out images.
        device: Where the heads are trained; the features stay where they are.
        progress: Title of the progress bars; empty shows none.

    Raises:
        ValueError: No labelled image in one of the sets, training sets of different images, a class
            of the validation set that is not in the training set, or an option without a meaning.
    """
    if normalize not in ("none", "l2", "standardize") or select_on not in ("held_out", "val"):
        raise ValueError(
            "normalize must be 'none', 'l2' or 'standardize' and select_on 'held_out' or 'val', got "
            f"{normalize!r} and {select_on!r}."
        )
    data = _prepared([train] if isinstance(train, Features) else train, val, normalize)
    recipe = _Recipe(
        epochs=epochs,
        batch_size=min(batch_size, len(data.labels)),
        warmup_epochs=warmup_epochs,
        weight_decay=weight_decay,
        nesterov=nesterov,
        label_smoothing=label_smoothing,
        max_grad_norm=max_grad_norm,
        batch_norm=batch_norm,
        seed=seed,
        device=device,
    )
    sweep: dict[float, float] = {}
    if len(lrs) > 1 and select_on == "held_out":
        part = data.held_out(held_out, seed=seed)
        title = progress and f"{progress}: {len(lrs)} learning rates"
        scores = recipe.fit(part, lrs, evaluate_every=epochs, title=title)[-1][1]
        sweep = _sweep(lrs, scores)
        lrs = [lrs[_best(scores)]]
    curve = recipe.fit(data, lrs, evaluate_every=evaluate_every, title=progress)
    if len(lrs) > 1:
        sweep = _sweep(lrs, curve[-1][1])
    return _result(data, lrs, curve, sweep=sweep, selected_on=select_on)
