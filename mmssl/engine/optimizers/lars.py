"""LARS: layer-wise adaptive rate scaling, in the variants that self-supervised codes use.

Large batch training of convolutional networks, 2017, arXiv 1708.03888.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from mmssl.registry import OPTIMIZERS


@OPTIMIZERS.register_module()
class LARS(Optimizer):
    """SGD with momentum whose step is scaled per tensor by a trust ratio q.

        u = g + wd * w
        q = eta * |w| / |u|                            norm_of_sum=True
        q = eta * |w| / (|g| + wd * |w| + eps)         norm_of_sum=False
        buf = momentum * buf + q * u;       w -= lr * buf        lr_in_momentum=False
        buf = momentum * buf + lr * q * u;  w -= buf             lr_in_momentum=True

    Parameter groups with `lars_exclude=True` have q = 1; their weight decay is that of the group (set 0
    to leave them undecayed, see `ParamGroupConstructor`). Parameters without gradient are skipped.

    The variants are not interchangeable:

    | used by                              | options                                                      |
    |--------------------------------------|--------------------------------------------------------------|
    | BYOL, MoCo v3, Barlow Twins, DINO    | defaults; biases and norms excluded, not decayed             |
    | SimCLR                               | lr_in_momentum=True; biases and norms excluded, not decayed  |
    | apex LARC: SwAV, SimSiam's probe     | norm_of_sum=False, zero_norm='gradient'                      |
    | apex LARC(clip=True)                 | as above and clip=True                                       |
    | mmpretrain                           | norm_of_sum=False, lr_in_momentum=True                       |
    | code base of CARE                    | norm_of_sum=False, lr_in_momentum=True, zero_norm='zero'     |

    Args:
        params: Parameters or groups.
        lr: Learning rate.
        momentum: Momentum of SGD.
        weight_decay: Weight decay wd.
        eta: Trust coefficient.
        eps: In the denominator of q with `norm_of_sum=False`.
        norm_of_sum: Divide by the norm of u instead of by the sum of norms.
        lr_in_momentum: Put the learning rate inside the momentum buffer.
        zero_norm: Where |w| or the gradient's norm (|u| with `norm_of_sum`) is 0: `unit` takes q = 1,
            `gradient` takes q = 1 and no weight decay, `zero` keeps the formula, so that a zero tensor never
            moves.
        clip: Take min(q / lr, 1) for q, so that the effective rate is the smaller of q and lr.
        lars_exclude: Default of the group option.

    Raises:
        ValueError: A negative number, or an unknown `zero_norm`.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        *,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        eta: float = 1e-3,
        eps: float = 1e-8,
        norm_of_sum: bool = True,
        lr_in_momentum: bool = False,
        zero_norm: Literal["unit", "gradient", "zero"] = "unit",
        clip: bool = False,
        lars_exclude: bool = False,
    ) -> None:
        numbers = dict(lr=lr, momentum=momentum, weight_decay=weight_decay, eta=eta, eps=eps)
        for name, value in numbers.items():
            if value < 0:
                raise ValueError(f"LARS needs {name} >= 0, got {value}.")
        if zero_norm not in ("unit", "gradient", "zero"):
            raise ValueError(f"zero_norm must be 'unit', 'gradient' or 'zero', got {zero_norm!r}.")
        if zero_norm == "zero" and norm_of_sum:
            raise ValueError(
                "zero_norm='zero' divides by zero with norm_of_sum=True; set it False."
            )
        defaults = dict(
            **numbers,
            norm_of_sum=norm_of_sum,
            lr_in_momentum=lr_in_momentum,
            zero_norm=zero_norm,
            clip=clip,
            lars_exclude=lars_exclude,
        )
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every parameter that has a gradient.

        Args:
            closure: Recomputes the loss; its value is returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if weights:
                self._step_group(weights, group)
        return loss

    def _step_group(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        gradients = [weight.grad for weight in weights]
        penalties = torch._foreach_mul(weights, group["weight_decay"])
        decayed = list(torch._foreach_add(gradients, penalties))
        if group["lars_exclude"]:
            updates = decayed
        else:
            updates = self._scaled(weights, gradients, decayed, group)
        for weight in weights:
            if "momentum_buffer" not in self.state[weight]:
                self.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
        buffers = [self.state[weight]["momentum_buffer"] for weight in weights]
        torch._foreach_mul_(buffers, group["momentum"])
        if group["lr_in_momentum"]:
            torch._foreach_add_(buffers, updates, alpha=group["lr"])
            torch._foreach_sub_(weights, buffers)
        else:
            torch._foreach_add_(buffers, updates)
            torch._foreach_add_(weights, buffers, alpha=-group["lr"])

    @staticmethod
    def _scaled(
        weights: list[Tensor],
        gradients: list[Tensor | None],
        decayed: list[Tensor],
        group: dict[str, Any],
    ) -> list[Tensor]:
        """q * u for every tensor, without leaving the device."""
        weight_norm = torch.stack(torch._foreach_norm(weights))
        if group["norm_of_sum"]:
            gradient_norm = torch.stack(torch._foreach_norm(decayed))
            denominator = gradient_norm
        else:
            gradient_norm = torch.stack(torch._foreach_norm(gradients))
            denominator = gradient_norm + group["weight_decay"] * weight_norm + group["eps"]
        ratio = group["eta"] * weight_norm / denominator
        if group["clip"]:
            ratio = (ratio / group["lr"]).clamp(max=1.0)
        if group["zero_norm"] == "zero":
            return list(torch._foreach_mul(decayed, list(ratio.unbind())))
        usable = (weight_norm > 0) & (gradient_norm > 0)
        ratio = torch.where(usable, ratio, 1.0)
        scaled = list(torch._foreach_mul(decayed, list(ratio.unbind())))
        if group["zero_norm"] == "gradient":
            triples = zip(usable.unbind(), scaled, gradients, strict=True)
            scaled = [torch.where(use, update, raw) for use, update, raw in triples]
        return scaled
