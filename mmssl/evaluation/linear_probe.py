"""Linear classification of cached features, with a sweep of learning rates trained in one pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from rich.progress import track
from torch import Tensor
from torch.nn import functional as F

from mmssl.evaluation.features import Features, labelled
from mmssl.ops.collectives import rank

DEFAULT_LRS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
_BN_MOMENTUM, _BN_EPS = 0.1, 1e-5


class LinearHeads:
    """H linear classifiers over the same features, trained at once by SGD with momentum 0.9.

    The heads do not interact: the loss is the sum of their cross-entropies, and each has its own
    learning rate. Head h starts with the same weights, N(0, 0.01), bias 0, whatever H is.

    Args:
        dim: Size D of the features.
        num_classes: C.
        lrs: One learning rate per head.
        weight_decay: L2 penalty of weights and biases.
        batch_norm: BatchNorm with affine parameters behind the classifier.
        seed: Of the initial weights.
        device: Where the heads live.
    """

    def __init__(
        self,
        dim: int,
        num_classes: int,
        lrs: Sequence[float],
        *,
        weight_decay: float = 0.0,
        batch_norm: bool = False,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        weight = torch.randn(num_classes, dim, generator=generator) * 0.01
        heads = len(lrs)
        # Kept as (H * C, D): one matrix product serves all heads.
        self.weight = weight.repeat(heads, 1).to(device).requires_grad_()
        self.bias = torch.zeros(heads, num_classes, device=device).requires_grad_()
        self.parameters = [self.weight, self.bias]
        self.batch_norm = batch_norm
        if batch_norm:
            self.scale = torch.ones(heads, num_classes, device=device).requires_grad_()
            self.shift = torch.zeros(heads, num_classes, device=device).requires_grad_()
            self.parameters += [self.scale, self.shift]
            self.running_mean = torch.zeros(heads * num_classes, device=device)
            self.running_var = torch.ones(heads * num_classes, device=device)
        self.momenta = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.lrs = torch.tensor(lrs, device=device)
        self.weight_decay = weight_decay

    def logits(self, features: Tensor, training: bool = False) -> Tensor:
        """(B, D) features to (B, H, C) logits; `training` uses and updates batch statistics."""
        heads, classes = self.bias.shape
        flat = F.linear(features, self.weight, self.bias.view(-1))
        if self.batch_norm:
            flat = F.batch_norm(
                flat,
                self.running_mean,
                self.running_var,
                self.scale.view(-1),
                self.shift.view(-1),
                training,
                _BN_MOMENTUM,
                _BN_EPS,
            )
        return flat.view(-1, heads, classes)

    def step(self, features: Tensor, labels: Tensor, factor: float) -> None:
        """One SGD step on (B, D) features and (B,) labels, at `factor` times the learning rates."""
        logits = self.logits(features, training=True)
        heads = logits.shape[1]
        # Summed over heads, averaged over the batch.
        loss = F.cross_entropy(logits.flatten(0, 1), labels.repeat_interleave(heads)) * heads
        gradients = torch.autograd.grad(loss, self.parameters)
        with torch.no_grad():
            for parameter, gradient, momentum in zip(
                self.parameters, gradients, self.momenta, strict=True
            ):
                momentum.mul_(0.9).add_(gradient.add(parameter, alpha=self.weight_decay))
                lrs = self.lrs * factor
                if parameter is self.weight:
                    lrs = lrs.repeat_interleave(self.bias.shape[1])
                parameter.sub_(lrs.view(-1, 1) * momentum)

    @torch.no_grad()
    def accuracy(self, features: Tensor, labels: Tensor, chunk: int = 8192) -> Tensor:
        """(H, 3): top-1 and top-5 accuracy in per cent, and the mean cross-entropy."""
        device = self.weight.device
        hits = torch.zeros(self.bias.shape[0], 3, dtype=torch.double)
        for rows, truth in zip(features.split(chunk), labels.split(chunk), strict=True):
            logits = self.logits(rows.to(device))
            best = logits.topk(min(5, logits.shape[2]), dim=2).indices
            truth = truth.to(device).view(-1, 1, 1)
            right = best == truth
            # A head that diverged is wrong everywhere, whatever topk makes of its numbers.
            right &= logits.isfinite().all(dim=2, keepdim=True)
            hits[:, 0] += right[..., 0].sum(dim=0).cpu()
            hits[:, 1] += right.any(dim=2).sum(dim=0).cpu()
            likelihood = logits.double().log_softmax(dim=2)
            picked = likelihood.gather(2, truth.expand(-1, logits.shape[1], 1))
            hits[:, 2] -= picked.nan_to_num(nan=-math.inf)[..., 0].sum(dim=0).cpu()
        return hits * torch.tensor([100.0, 100.0, 1.0]) / len(labels)


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
            "image out. Use more images, a larger share, or a single learning rate."
        )
    return (~held).nonzero()[:, 0], held.nonzero()[:, 0]


def _shared_labels(sets: Sequence[Features], val: Features) -> Tensor:
    """The labels of the training images, after a look at whether a probe makes sense."""
    labels = sets[0].labels
    if not len(labels) or not len(val.labels):
        raise ValueError(
            f"A linear probe needs labels: {len(labels)} training and {len(val.labels)} validation "
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


def _fit(
    heads: LinearHeads,
    train: Sequence[Tensor],
    labels: Tensor,
    val: Tensor,
    val_labels: Tensor,
    *,
    epochs: int,
    batch_size: int,
    evaluate_every: int,
    seed: int,
    progress: str,
) -> list[tuple[int, Tensor]]:
    """Train; `train` holds features of one or several random crops, used in turn. Returns accuracies."""
    generator = torch.Generator().manual_seed(seed)
    per_epoch = math.ceil(len(labels) / batch_size)
    device = heads.weight.device
    curve = []
    epochs_left = range(epochs)
    for epoch in track(epochs_left, progress, disable=not progress or rank() != 0):
        order = torch.randperm(len(labels), generator=generator)
        features = train[epoch % len(train)]
        for number, batch in enumerate(order.split(batch_size)):
            if heads.batch_norm and len(batch) == 1:
                continue  # one image has no batch statistics
            done = (epoch * per_epoch + number) / (epochs * per_epoch)
            factor = 0.5 * (1 + math.cos(math.pi * done))
            heads.step(features[batch].to(device), labels[batch].to(device), factor)
        if (epoch + 1) % evaluate_every == 0 or epoch + 1 == epochs:
            curve.append((epoch + 1, heads.accuracy(val, val_labels)))
    return curve


def _best(scores: Tensor) -> int:
    """The head with the best top-1; a few images make ties, which the lower cross-entropy breaks."""
    return max(
        range(len(scores)), key=lambda head: (scores[head, 0].item(), -scores[head, 2].item())
    )


def linear_probe(
    train: Features | Sequence[Features],
    val: Features,
    *,
    lrs: Sequence[float] = DEFAULT_LRS,
    epochs: int = 100,
    batch_size: int = 256,
    weight_decay: float = 0.0,
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
    per iteration without warm-up. All learning rates are trained in one pass over the features. The
    best of them is chosen on a part of the training images that is held out, and trained again on
    all of them; choosing on the validation images instead is what many papers do, and optimistic.
    The same call gives the same result.

    CARE's protocol is `lrs=[0.2], epochs=80, batch_norm=True` on random training crops.

    Args:
        train: Training features; several of the same images (one per epoch of random crops) are
            used in turn. Images without label are left out.
        val: Validation features.
        lrs: Learning rates for a batch of 256.
        epochs: Passes over the training features.
        batch_size: At most as many images as there are.
        weight_decay: L2 penalty.
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
            of the validation set that is not in the training set, or an unknown option.
    """
    sets = [train] if isinstance(train, Features) else list(train)
    if normalize not in ("none", "l2", "standardize") or select_on not in ("held_out", "val"):
        raise ValueError(
            "normalize must be 'none', 'l2' or 'standardize' and select_on 'held_out' or 'val', got "
            f"{normalize!r} and {select_on!r}."
        )
    sets, val = [labelled(data) for data in sets], labelled(val)
    labels = _shared_labels(sets, val)
    *inputs, val_inputs = _normalized([*sets, val], normalize)
    batch_size = min(batch_size, len(labels))

    def heads(rates: Sequence[float]) -> LinearHeads:
        return LinearHeads(
            inputs[0].shape[1],
            int(labels.max()) + 1,
            [rate * batch_size / 256 for rate in rates],
            weight_decay=weight_decay,
            batch_norm=batch_norm,
            seed=seed,
            device=device,
        )

    options = dict(epochs=epochs, batch_size=batch_size, seed=seed)
    sweep: dict[float, float] = {}
    if len(lrs) > 1 and select_on == "held_out":
        fit, held = hold_out(labels, held_out, seed=seed)
        scores = _fit(
            heads(lrs),
            [data[fit] for data in inputs],
            labels[fit],
            inputs[0][held],
            labels[held],
            evaluate_every=epochs,
            progress=progress and f"{progress}: {len(lrs)} learning rates",
            **options,
        )[-1][1]
        sweep = dict(zip(map(float, lrs), scores[:, 0].tolist(), strict=True))
        lrs = [lrs[_best(scores)]]
    curve = _fit(
        heads(lrs),
        inputs,
        labels,
        val_inputs,
        val.labels,
        evaluate_every=evaluate_every,
        progress=progress,
        **options,
    )
    last = curve[-1][1]
    chosen = _best(last)
    if len(lrs) > 1:
        sweep = dict(zip(map(float, lrs), last[:, 0].tolist(), strict=True))
    points = [(epoch, scores[chosen, 0].item()) for epoch, scores in curve]
    best_epoch, best = max(points, key=lambda point: point[1])
    return LinearProbeResult(
        top1=last[chosen, 0].item(),
        top5=last[chosen, 1].item(),
        lr=float(lrs[chosen]),
        best_epoch_top1=best,
        best_epoch=best_epoch,
        selected_on=select_on if sweep else "one learning rate",
        sweep=sweep,
        curve=points,
        num_train=len(labels),
        num_val=len(val.labels),
    )
