"""MomentumTwin: the momentum copy of named children of an algorithm (teacher, target, key encoder)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Literal

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmssl.ops.schedules import Schedule, build_schedule

UpdateAt = Literal["before_forward", "after_step"]


class MomentumTwin(BaseModule):
    """Deep copies of `owner`'s children under the same names, without gradients.

    `twin.backbone.conv1.weight` mirrors `owner.backbone.conv1.weight`; the update walks names. Drop-out
    and stochastic depth are switched off in the copy (as DINO and EsViT build their teachers). Only
    parameters are averaged: buffers such as BatchNorm statistics are the twin's own, because the twin
    runs in train mode on its own batches (see `average_buffers`).

    Args:
        owner: The module that holds the children; it is not registered here.
        names: Names of the children to mirror. A name whose child is `None` is left out.
        momentum: m in `theta' <- m * theta' + (1 - m) * theta`, a number or a schedule.
        update_at: `before_forward` (MoCo, PixPro, HCSC, CARE) or `after_step` (BYOL, DINO, EsViT).
        average_buffers: Average floating-point buffers as well; integer buffers are copied.

    Raises:
        AttributeError: `owner` has no child of a given name.
        ValueError: `update_at` is neither of the two moments.
    """

    num_updates: Tensor

    def __init__(
        self,
        owner: nn.Module,
        names: list[str],
        *,
        momentum: Schedule | dict | float,
        update_at: UpdateAt,
        average_buffers: bool = False,
    ) -> None:
        super().__init__()
        if update_at not in ("before_forward", "after_step"):
            raise ValueError(
                f"update_at must be 'before_forward' or 'after_step', got {update_at!r}."
            )
        self.momentum = build_schedule(momentum)
        self.update_at = update_at
        self.average_buffers = average_buffers
        self.names = [name for name in names if getattr(owner, name) is not None]
        for name in self.names:
            mirrored = copy.deepcopy(getattr(owner, name)).requires_grad_(False)
            for module in mirrored.modules():
                if hasattr(module, "drop_prob"):
                    module.drop_prob = 0.0
                elif isinstance(module, nn.modules.dropout._DropoutNd):
                    module.p = 0.0
            self.add_module(name, mirrored)
        self.register_buffer("num_updates", torch.zeros((), dtype=torch.long))

    def init_weights(self) -> None:
        """Nothing: a twin starts as a copy of its owner (`sync`)."""

    def _pairs(self, owner: nn.Module, kind: str) -> Iterator[tuple[Tensor, Tensor]]:
        """Tensors of the twin and of the owner with the same name; `kind` is parameters or buffers."""
        for name in self.names:
            theirs = dict(getattr(owner.get_submodule(name), f"named_{kind}")())
            for key, mine in getattr(self.get_submodule(name), f"named_{kind}")():
                yield mine, theirs[key]

    @torch.no_grad()
    def sync(self, owner: nn.Module) -> None:
        """Copy parameters and buffers of `owner`; the number of updates restarts at 0."""
        for kind in ("parameters", "buffers"):
            for mine, theirs in self._pairs(owner, kind):
                mine.copy_(theirs)
        self.num_updates.zero_()

    @torch.no_grad()
    def update(self, owner: nn.Module, step: int, total: int) -> float:
        """Move the twin towards `owner` once.

        Two separately rounded operations, `mul_(m)` and adding `(1 - m) * theta`, reproduce the
        official codes bit for bit; a fused multiply-add does not.

        Args:
            owner: The module whose children are mirrored.
            step: Finished optimizer steps.
            total: Optimizer steps of the whole run.

        Returns:
            The momentum that was used.
        """
        momentum = self.momentum(step, total)
        pairs = list(self._pairs(owner, "parameters"))
        if self.average_buffers:
            for mine, theirs in self._pairs(owner, "buffers"):
                if mine.is_floating_point():
                    pairs.append((mine, theirs))
                else:
                    mine.copy_(theirs)
        twins = [mine for mine, _ in pairs]
        torch._foreach_mul_(twins, momentum)
        torch._foreach_add_(
            twins, torch._foreach_mul([theirs for _, theirs in pairs], 1 - momentum)
        )
        self.num_updates += 1
        return momentum
