"""Reading a pickle whose classes are not installed: their objects keep their attributes and do nothing.

Old checkpoints hold whole modules (NPID: its bank), which pickle names by the place of their code in the
authors' repository. This module is what `torch.load(pickle_module=...)` takes; it is for files that are
trusted, for whatever can be imported is run as by `pickle` itself.
"""

from __future__ import annotations

import pickle
from typing import Any


class AbsentObject:
    """An object of a class that is not installed; what pickle restores are its attributes."""

    # asked by torch for the classes of modules: whether to write a patch of their source
    dump_patches = False

    def __init__(self, *arguments: Any) -> None:
        """What the class would have been given is of no use without it."""

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


class Unpickler(pickle.Unpickler):
    """pickle's, with `AbsentObject` for what cannot be imported."""

    def find_class(self, module: str, name: str) -> Any:
        """The class or function of a name, or the stand-in."""
        try:
            return super().find_class(module, name)
        except (ImportError, AttributeError):
            return AbsentObject


def load(file: Any, **options: Any) -> Any:
    """As `pickle.load`."""
    return Unpickler(file, **options).load()
