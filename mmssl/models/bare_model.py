"""The module behind a wrapper for distributed training."""

from __future__ import annotations

from typing import Any

from mmengine.model import is_model_wrapper
from torch import nn


def bare_model(model: nn.Module) -> Any:
    """The module without its wrapper for distributed training; typed loosely, for it is whatever it is."""
    return model.module if is_model_wrapper(model) else model
