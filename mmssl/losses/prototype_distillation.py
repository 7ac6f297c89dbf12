"""The last layer of two heads and the cross-entropy between them, without logits of a whole batch.

The loss of DINO and EsViT (`distillation`) on what stands before the last layer. With 65,536
prototypes the logits of all regions of a batch take gigabytes, and several times that as probabilities
and gradients; here those of a few images exist at a time.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmssl.losses.distillation import distillation

Implementation = Literal["fused", "reference"]


def prototype_distillation(
    student: Tensor,
    prototypes: Tensor,
    teacher: Tensor,
    teacher_prototypes: Tensor,
    center: Tensor,
    pairs: Tensor,
    *,
    temperature: float = 0.1,
    teacher_temperature: float = 0.04,
    max_logits: int = 2**26,
    implementation: Implementation = "fused",
) -> Tensor:
    """Cross-entropy of `softmax(x W' / temperature)` with `softmax((y V' - c) / teacher_temperature)`.

        loss = - 1/B sum_b sum_sm pairs[b, s, m] < p[b, m], log q[b, s] >

    Products with prototypes are in float32 at least, also under autocast: logits are divided by small
    temperatures.

    `fused` goes through the images in chunks and never forms a target. With E = exp of the student's
    logits, z their sums over k, n = sums of `pairs` over m:

        loss = sum n log z - < pairs p, x W' > / temperature,      < pairs p, x W' > = < pairs (p W), x >
        dx = (n E W / z - pairs (p W)) / temperature
        dW = (E' (n x / z) - p' (pairs' x)) / temperature

    Loss and gradients come from one pass; the chunk's logits are overwritten in place.

    Args:
        student: (B, S, D) rows x before the last layer; have a gradient.
        prototypes: (K, D) weight W of the student's last layer; has a gradient.
        teacher: (B, M, D) rows y of the teacher.
        teacher_prototypes: (K, D) weight V of the teacher's last layer.
        center: (1, K) running mean c of the teacher's logits.
        pairs: (B, S, M) weights, or (S, M) for every image alike.
        temperature: Of the student.
        teacher_temperature: Of the teacher.
        max_logits: Logits that `fused` holds at a time, student's and teacher's together; one image is
            the least.
        implementation: `fused`, or `reference`, which is the formula.

    Returns:
        Scalar, float32 or float64.

    Raises:
        ValueError: Shapes that do not fit, a temperature that is not positive, or another implementation.
    """
    if not (temperature > 0 and teacher_temperature > 0):
        raise ValueError(
            f"Temperatures must be positive, got {temperature} for the student and {teacher_temperature} "
            "for the teacher."
        )
    expected = (student.shape[1], teacher.shape[1])
    if tuple(pairs.shape[-2:]) != expected:
        raise ValueError(
            f"pairs must have {expected[0]} student rows and {expected[1]} teacher rows, got shape "
            f"{tuple(pairs.shape)}."
        )
    dtype = torch.promote_types(student.dtype, torch.float32)
    pairs = pairs.to(student.device, dtype, non_blocking=True).expand(len(student), -1, -1)
    with torch.autocast(student.device.type, enabled=False):
        if implementation == "fused":
            return _Fused.apply(
                student.to(dtype), prototypes.to(dtype), teacher.to(dtype),
                teacher_prototypes.to(dtype), center.to(dtype), pairs,
                (temperature, teacher_temperature, max_logits),
            )  # fmt: skip
        if implementation != "reference":
            raise ValueError(f"implementation is 'fused' or 'reference', got {implementation!r}.")
        with torch.no_grad():
            logits = teacher.to(dtype) @ teacher_prototypes.to(dtype).T
            targets = ((logits - center.to(dtype)) / teacher_temperature).softmax(dim=-1)
        logits = student.to(dtype) @ prototypes.to(dtype).T
        return distillation(logits, targets, pairs, temperature=temperature)


@torch.no_grad()
def teacher_entropy(
    teacher: Tensor,
    prototypes: Tensor,
    center: Tensor,
    *,
    temperature: float = 0.04,
    max_rows: int = 16,
) -> Tensor:
    """Mean entropy of some targets of `prototype_distillation`, in nats: 0 if each is sure, ln K if none is.

    The mean over all targets is the least that the loss can be; what the loss is above it is the divergence
    of the student from the teacher (DINO, arXiv 2104.14294, section 5.3).

    Args:
        teacher: (B, M, D) rows of the teacher.
        prototypes: (K, D) weight of the teacher's last layer.
        center: (1, K) running mean of its logits.
        temperature: Of the teacher.
        max_rows: Rows that are looked at, spread over images and views.

    Returns:
        Scalar, float32 or float64.
    """
    rows = teacher.flatten(0, -2)
    # an odd distance meets all views of pairs
    rows = rows[:: math.ceil(len(rows) / max_rows) | 1]
    with torch.autocast(rows.device.type, enabled=False):
        rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
        logits = (rows @ prototypes.to(rows.dtype).T - center.to(rows.dtype)) / temperature
        log_targets = logits.log_softmax(dim=-1)
        return -(log_targets.exp() * log_targets).sum(dim=-1).mean()


class _Fused(torch.autograd.Function):
    """See `prototype_distillation` for the formulas."""

    @staticmethod
    def forward(
        ctx: Any, student: Tensor, prototypes: Tensor, teacher: Tensor, teacher_prototypes: Tensor,
        center: Tensor, pairs: Tensor, options: tuple[float, float, int],
    ) -> Tensor:  # fmt: skip
        temperature, teacher_temperature, max_logits = options
        with_gradient = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        dx = torch.empty_like(student) if with_gradient else None
        dw = torch.zeros_like(prototypes) if ctx.needs_input_grad[1] else None
        loss = student.new_zeros(())
        per_image = (student.shape[1] + teacher.shape[1]) * len(prototypes)
        chunk = max(1, max_logits // per_image)
        for start in range(0, len(student), chunk):
            images = slice(start, start + chunk)
            pair, x = pairs[images], student[images]
            rows = x.flatten(0, 1)
            said = torch.addmm(
                -center / teacher_temperature,
                teacher[images].flatten(0, 1) / teacher_temperature,
                teacher_prototypes.T,
            )
            said, said_sum, _ = _exponentials(said)
            # What the targets ask for, as points: the mean prototype under each target.
            wanted = (said @ prototypes / said_sum).view(len(x), -1, x.shape[2])
            wanted = torch.bmm(pair, wanted).flatten(0, 1)
            own, own_sum, log_sum = _exponentials((rows / temperature) @ prototypes.T)
            weight = pair.sum(dim=2).flatten()[:, None]
            loss += (weight * log_sum).sum() - (wanted * rows).sum() / temperature
            if dx is not None:
                dx[images] = (own @ prototypes * (weight / own_sum) - wanted).view_as(x)
            if dw is not None:
                dw.addmm_(own.T, rows * (weight / own_sum))
                asked_by = torch.bmm(pair.transpose(1, 2), x).flatten(0, 1)
                dw.addmm_(said.T, asked_by / said_sum, alpha=-1)
        ctx.save_for_backward(dx, dw)
        ctx.scale = 1 / (temperature * len(student))
        return loss / len(student)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple:
        scale = grad_output * ctx.scale
        dx, dw = (None if saved is None else saved * scale for saved in ctx.saved_tensors)
        return dx, dw, None, None, None, None, None


def _exponentials(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """exp(l - max) in place of the rows of `logits`, its sum (N, 1), and log sum exp l (N, 1)."""
    top = logits.amax(dim=1, keepdim=True)
    exponentials = logits.sub_(top).exp_()
    total = exponentials.sum(dim=1, keepdim=True)
    return exponentials, total, top + total.log()
