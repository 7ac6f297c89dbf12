"""LinearHeads: many linear classifiers over the same features, trained by one matrix product."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

_MOMENTUM = 0.9
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
        nesterov: Nesterov's momentum, in the form of `torch.optim.SGD`.
        label_smoothing: Share of the target that is spread over all classes.
        max_grad_norm: Longest gradient of a head, over all its parameters and before the penalty;
            `None` leaves gradients as they are.
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
        nesterov: bool = False,
        label_smoothing: float = 0.0,
        max_grad_norm: float | None = None,
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
        self.weight_decay, self.nesterov = weight_decay, nesterov
        self.label_smoothing, self.max_grad_norm = label_smoothing, max_grad_norm

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
        loss = heads * F.cross_entropy(
            logits.flatten(0, 1),
            labels.repeat_interleave(heads),
            label_smoothing=self.label_smoothing,
        )
        gradients = self._clipped(torch.autograd.grad(loss, self.parameters))
        with torch.no_grad():
            for parameter, gradient, momentum in zip(
                self.parameters, gradients, self.momenta, strict=True
            ):
                gradient = gradient.add(parameter, alpha=self.weight_decay)
                momentum.mul_(_MOMENTUM).add_(gradient)
                step = gradient.add(momentum, alpha=_MOMENTUM) if self.nesterov else momentum
                lrs = self.lrs * factor
                if parameter is self.weight:
                    lrs = lrs.repeat_interleave(self.bias.shape[1])
                parameter.sub_(lrs.view(-1, 1) * step)

    def _clipped(self, gradients: Sequence[Tensor]) -> Sequence[Tensor]:
        """Gradients of all parameters, those of each head scaled down to `max_grad_norm` together."""
        if self.max_grad_norm is None:
            return gradients
        per_head = [gradient.reshape(len(self.lrs), -1) for gradient in gradients]
        norms = torch.stack([rows.norm(dim=1) for rows in per_head]).norm(dim=0)
        # The same small number as in torch.nn.utils.clip_grad_norm_.
        scale = (self.max_grad_norm / (norms + 1e-6)).clamp(max=1.0).view(-1, 1)
        return [
            (rows * scale).view_as(gradient)
            for rows, gradient in zip(per_head, gradients, strict=True)
        ]

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
