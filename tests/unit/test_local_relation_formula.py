"""Local relation against its formula, number by number, with all similarities and saliencies.

The loops below share nothing with the operator but the names of the similarities.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.helpers.relation import GRADIENTS, random_inputs, results

# in the order of the authors' numbers 0 to 5
FUNCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "dot": lambda q, k: q * k,
    "key": lambda q, k: k + 0 * q,
    "neg_abs": lambda q, k: -abs(q - k),
    "neg_relative_abs": lambda q, k: -abs(q - k) / (abs(q) + abs(k) + 1),
    "neg_relative_squared": lambda q, k: -((q - k) ** 2) / (abs(q * k) + 1),
    "neg_squared": lambda q, k: -((q - k) ** 2),
}
GROUPS, INNER, OUTER, KERNEL, STRIDE, DILATION = 3, 2, 2, (3, 2), (2, 1), (1, 2)
SCALE, OUTSIDE = 0.7, -1.5


def by_loops(inputs: list[Tensor], similarity: str, extra: int) -> Tensor:
    """The result, one number at a time."""
    query, key, value, prior = inputs
    images, _, rows, columns = query.shape
    height, width = key.shape[2:]
    out = torch.zeros(images, GROUPS * OUTER, rows, columns, dtype=torch.float64)
    for n in range(images):
        for g in range(GROUPS):
            for h in range(rows):
                for w in range(columns):
                    logits, seen = [], []
                    for i in range(KERNEL[0]):
                        for j in range(KERNEL[1]):
                            down = h * STRIDE[0] + DILATION[0] * (i - KERNEL[0] // 2)
                            right = w * STRIDE[1] + DILATION[1] * (j - KERNEL[1] // 2)
                            if 0 <= down < height and 0 <= right < width:
                                alike = torch.zeros((), dtype=torch.float64)
                                for c in range(g * INNER, (g + 1) * INNER):
                                    alike = alike + FUNCTIONS[similarity](
                                        query[n, c, h, w], key[n, c, down, right]
                                    )
                                    if extra:
                                        number = GROUPS * INNER + g * extra // GROUPS
                                        alike = alike + key[n, number, down, right]
                                logits.append(SCALE * alike + prior[g, i, j])
                                seen.append(value[n, g * OUTER : (g + 1) * OUTER, down, right])
                            else:
                                logits.append(OUTSIDE + prior[g, i, j])
                                seen.append(torch.zeros(OUTER, dtype=torch.float64))
                    shares = [each.exp() for each in logits]
                    mixed = sum(share * each for share, each in zip(shares, seen, strict=True))
                    out[n, g * OUTER : (g + 1) * OUTER, h, w] = mixed / sum(shares)
    return out


@pytest.mark.parametrize("extra", [0, 1, 2, 5])
@pytest.mark.parametrize("similarity", FUNCTIONS)
def test_values_are_the_formula(similarity: str, extra: int) -> None:
    inputs = random_inputs(
        groups=GROUPS, inner=INNER, outer=OUTER, extra=extra, num=1, size=(3, 3),
        kernel_size=KERNEL, stride=STRIDE,
    )  # fmt: skip
    leaves = [each.clone().requires_grad_() for each in inputs]
    y = by_loops(leaves, similarity, extra)
    grad = torch.linspace(-1, 2, y.numel(), dtype=torch.float64).view_as(y)
    grads = torch.autograd.grad(y, leaves, grad, allow_unused=True)
    expected = dict(y=y.detach(), **dict(zip(GRADIENTS, grads, strict=True)))
    for implementation in ("reference", "shifted"):
        found = results(
            inputs, implementation, grad, kernel_size=KERNEL, groups=GROUPS, stride=STRIDE,
            dilation=DILATION, scale=SCALE, outside=OUTSIDE, similarity=similarity,
        )  # fmt: skip
        for key, each in expected.items():
            torch.testing.assert_close(found[key], each, rtol=1e-10, atol=1e-12)
