"""Optimizer wrappers: mmengine's, with a guard against non-finite losses and AMP on the CPU too."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import contextmanager

import torch
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper as _AmpOptimWrapper
from mmengine.optim import OptimWrapper as _OptimWrapper
from torch import Tensor, nn
from torch.optim import Optimizer

from mmssl.engine.optimizers.clip import clip_per_tensor
from mmssl.ops.collectives import any_rank
from mmssl.registry import OPTIM_WRAPPERS


def emulates_bfloat16() -> bool:
    """Whether this is an x86 CPU without bfloat16 instructions; False where torch cannot tell."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    native = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    return capabilities.get("architecture") == "x86_64" and not native


class _FiniteGuard:
    """Drop a logical batch in which any loss, on any rank, is not finite; weights stay as they are.

    `FiniteLossHook` reports the dropped step and decides whether training may go on. `dropped` is part
    of a checkpoint that is written inside a logical batch (`ResumeStateHook`).
    """

    dropped = False
    _inner_count: int
    should_update: Callable[[], bool]
    zero_grad: Callable[[], None]

    def update_params(self, loss: Tensor, *args, **kwargs) -> None:
        """Backward and maybe step, unless a loss of this logical batch was not finite."""
        self.dropped |= any_rank(not torch.isfinite(loss).item())
        if not self.dropped:
            super().update_params(loss, *args, **kwargs)
            return
        self._inner_count += 1
        if self.should_update():
            self.zero_grad()
            self.dropped = False


class _Clipping(_OptimWrapper):
    """`clip_grad=dict(type='per_tensor', max_norm=...)` beside mmengine's `norm` and `value`."""

    def __init__(self, *args, clip_grad: dict | None = None, **kwargs) -> None:
        # a copy: mmengine takes entries out of the dict that it gets
        options = None if clip_grad is None else {**clip_grad}
        per_tensor = options is not None and options.get("type") == "per_tensor"
        if options is not None and per_tensor:
            options["type"] = "norm"
        super().__init__(*args, clip_grad=options, **kwargs)
        if per_tensor:
            self.clip_func = clip_per_tensor


@OPTIM_WRAPPERS.register_module()
class OptimWrapper(_FiniteGuard, _Clipping, _OptimWrapper):
    """mmengine's `OptimWrapper` that never steps on a non-finite loss.

    Args:
        optimizer: The optimizer.
        accumulative_counts: Iterations per optimizer step.
        clip_grad: mmengine's, or `dict(type='per_tensor', max_norm=3.0)` (`clip_per_tensor`).
    """

    def __init__(
        self, optimizer: Optimizer, accumulative_counts: int = 1, clip_grad: dict | None = None
    ) -> None:
        super().__init__(optimizer, accumulative_counts, clip_grad=clip_grad)


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(_FiniteGuard, _Clipping, _OptimWrapper):
    """bfloat16 autocast on CPU and GPU; its range is that of float32, so no loss scaling is needed.

    A CPU without bfloat16 instructions emulates them, about 1.8 times slower than float32: a warning
    says so.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if not torch.cuda.is_available() and emulates_bfloat16():
            print_log(
                "This CPU has no bfloat16 instructions: --amp bf16 is slower than float32 here. "
                "Leave it out, unless you want to test it.",
                logger="current",
                level=logging.WARNING,
            )

    @contextmanager
    def optim_context(self, model: nn.Module):
        """Autocast around preprocessing and loss; gradient synchronisation as in mmengine."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, dtype=torch.bfloat16):
            yield


@OPTIM_WRAPPERS.register_module()
class Float16OptimWrapper(_FiniteGuard, _Clipping, _AmpOptimWrapper):
    """float16 autocast with dynamic loss scaling, as the official CARE code trains; needs a GPU.

    Raises:
        RuntimeError: No CUDA device.
    """

    def __init__(self, **kwargs) -> None:
        if not torch.cuda.is_available():
            raise RuntimeError("float16 training needs a CUDA device; use --amp bf16 on a CPU.")
        super().__init__(dtype="float16", **kwargs)
