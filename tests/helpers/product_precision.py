"""Which precision matrix products are computed with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_PRODUCTS = ("mm", "addmm", "bmm", "baddbmm")


class _Spy(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, torch.dtype]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ in _PRODUCTS:
            self.seen.append((torch.get_float32_matmul_precision(), args[-1].dtype))
        return func(*args, **(kwargs or {}))


def product_precisions(loss: Callable[[], Tensor]) -> list[set[tuple[str, torch.dtype]]]:
    """Precision and type of the products of a loss and of its backward pass, where the run allows TF32.

    Args:
        loss: Computes it.
    """
    torch.set_float32_matmul_precision("high")
    found = []
    try:
        with _Spy() as spy:
            value = loss()
        found.append(set(spy.seen))
        with _Spy() as spy:
            value.backward()
        found.append(set(spy.seen))
    finally:
        torch.set_float32_matmul_precision("highest")
    return found
