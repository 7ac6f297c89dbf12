"""What SGD does to a parameter that gets no gradient, as a 2 x 2 operator, so that it can be done later.

Parametric Instance Classification for Unsupervised Visual Feature Learning (PIC), 2020, arXiv 2006.14618,
"classification weight update correction"; the operator is derived from torch's SGD. With momentum m, weight
decay l and learning rate e a step without gradient is

    u <- m u + l w
    w <- w - e u            that is   (w, u) <- A (w, u),   A = [[1 - e l, -e m], [l, m]],   det A = m

for every component alike. Products of such operators are accumulated forward in float64: taking prefix
products apart by inverses would lose all digits within a few hundred steps, for determinants vanish as m^n.
"""

from __future__ import annotations

import torch
from torch import Tensor


def idle_operator(lr: float, *, momentum: float, weight_decay: float) -> Tensor:
    """A of one step, (2, 2) float64.

    Example:
        >>> idle_operator(0.5, momentum=0.5, weight_decay=1.0).tolist()
        [[0.5, -0.25], [1.0, 0.5]]
    """
    return torch.tensor(
        [[1 - lr * weight_decay, -lr * momentum], [weight_decay, momentum]],
        dtype=torch.float64,
        device="cpu",
    )


def compose(later: Tensor, earlier: Tensor) -> Tensor:
    """The products `later @ earlier` of (..., 2, 2) operators, broadcast.

    Written out: the result of each pair does not depend on how many others are multiplied beside it, which
    batched matrix products do not promise and equal tables on several ranks need.
    """
    left, top = later.unsqueeze(-1), earlier.unsqueeze(-3)
    terms = left * top
    return terms[..., 0, :] + terms[..., 1, :]


def idle_power(steps: Tensor, lr: float, *, momentum: float, weight_decay: float) -> Tensor:
    """A^n of n steps with the same settings, by repeated squaring.

    Args:
        steps: (T,) int64, each n >= 0.
        lr: e.
        momentum: m.
        weight_decay: l.

    Returns:
        (T, 2, 2) float64.

    Example:
        >>> idle_power(torch.tensor([0, 2]), 0.5, momentum=0.5, weight_decay=1.0)[1].tolist()
        [[0.0, -0.25], [1.0, 0.0]]
    """
    square = idle_operator(lr, momentum=momentum, weight_decay=weight_decay).to(steps.device)
    power = torch.eye(2, dtype=torch.float64, device=steps.device).repeat(len(steps), 1, 1)
    for bit in range(int(steps.max()).bit_length() if len(steps) else 0):
        odd = (steps >> bit & 1).bool()[:, None, None]
        power = torch.where(odd, compose(square, power), power)
        square = compose(square, square)
    return power


def moved(operators: Tensor, weight: Tensor, momentum: Tensor) -> tuple[Tensor, Tensor]:
    """(w, u) <- M (w, u) for every row, in float64, rounded once.

    Args:
        operators: (n, 2, 2) float64, M of each row.
        weight: (n, D) w.
        momentum: (n, D) u.

    Returns:
        Weights and momenta (n, D), of the type they came in.
    """
    w, u = weight.double(), momentum.double()
    (a, b), (c, d) = (row.unbind(1) for row in operators.unbind(1))
    new_w = a[:, None] * w + b[:, None] * u
    new_u = c[:, None] * w + d[:, None] * u
    return new_w.to(weight.dtype), new_u.to(momentum.dtype)
