"""Switches of the command line that change a config: precision, accumulation, memory, compilation."""

from __future__ import annotations

from mmengine.config import Config

_WRAPPERS = {"bf16": "mmssl.BFloat16OptimWrapper", "fp16": "mmssl.Float16OptimWrapper"}


def set_precision(config: Config, precision: str) -> None:
    """Train in mixed precision: `bf16` (CPU and GPU) or `fp16` (GPU, with loss scaling).

    Raises:
        ValueError: Another precision.
    """
    if precision not in _WRAPPERS:
        raise ValueError(f"precision must be one of {sorted(_WRAPPERS)}, got {precision!r}.")
    config.optim_wrapper.type = _WRAPPERS[precision]
    for key in ("loss_scale", "dtype"):
        config.optim_wrapper.pop(key, None)


def set_accumulation(config: Config, batches: int) -> None:
    """Step the optimizer once in `batches` iterations, on the mean of their gradients.

    Raises:
        ValueError: `batches` is below 1.
    """
    if batches < 1:
        raise ValueError(f"The number of accumulated batches must be at least 1, got {batches}.")
    config.optim_wrapper.accumulative_counts = batches


def set_activation_checkpointing(config: Config, modules: list[str]) -> None:
    """Recompute the activations of sub-modules (`backbone.layer1`) in the backward pass."""
    config.activation_checkpointing = modules


def set_compile(config: Config, modules: list[str]) -> None:
    """Compile sub-modules in place with `torch.compile`."""
    config.compile = dict(modules=modules)
