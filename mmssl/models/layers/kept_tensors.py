"""Tables that follow from a few sizes are made once and kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch._guards import detect_fake_mode

Maker = TypeVar("Maker", bound=Callable[..., Tensor])
MAX_KEPT = 256
MAX_BYTES = 2**28
"""What one function keeps at most; then it begins anew. Masks of large maps are of many megabytes."""


def kept_tensor(make: Maker) -> Maker:
    """Keep what a function of hashable positional arguments returns.

    The tensor is an ordinary one wherever it was first asked for: neither a default device of that moment
    nor inference mode gets into what later calls see. A compiler sees the function itself, whose sizes
    may be symbols then.
    """
    kept: dict[tuple, Tensor] = {}

    @wraps(make)
    def keeping(*args: Any) -> Tensor:
        if torch.compiler.is_compiling() or detect_fake_mode() is not None:
            return make(*args)
        if args not in kept:
            with torch.inference_mode(False), torch.device("cpu"):
                made = make(*args)
            held = sum(tensor.nbytes for tensor in kept.values())
            if len(kept) >= MAX_KEPT or held + made.nbytes > MAX_BYTES:
                kept.clear()
            kept[args] = made
        return kept[args]

    return cast(Maker, keeping)
