"""Tables that follow from a few sizes are made once and kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TypeVar

import torch

Maker = TypeVar("Maker", bound=Callable[..., torch.Tensor])


def kept_tensor(make: Maker) -> Maker:
    """Keep what a function of hashable arguments returns, up to 256 of them.

    The tensor is an ordinary one wherever it was first asked for: neither a default device of that moment
    nor inference mode gets into what later calls see. A compiler takes it as a constant.
    """

    @lru_cache(maxsize=256)
    def ordinary(*args, **kwargs) -> torch.Tensor:
        with torch.inference_mode(False), torch.device("cpu"):
            return make(*args, **kwargs)

    @wraps(make)
    def kept(*args, **kwargs) -> torch.Tensor:
        return ordinary(*args, **kwargs)

    return torch.compiler.assume_constant_result(kept)
