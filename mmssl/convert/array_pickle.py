"""Reading pickles of numpy arrays, as programs in JAX write them, without running code of theirs.

pickle calls whatever a file names. Here that is numpy's constructors of arrays and plain containers; classes
of the libraries that such files come from become `Record`s, which keep what they were given and do nothing;
everything else is refused.
"""

from __future__ import annotations

import builtins
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

# the beginning of a file of torch < 1.6, which is a pickle as well
_TORCH_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_LIBRARIES = ("haiku", "byol", "optax", "jax", "jaxlib")
_FIELDS = dict(
    _ByolExperimentState=(
        *("online_params", "target_params"),
        *("online_state", "target_state", "opt_state"),
    )
)
_CONTAINERS = ("dict", "list", "tuple", "set", "frozenset", "bytearray", "complex")


class Record:
    """What a pickle gives to a class that is not run: its arguments and its state.

    Args:
        *arguments: Any.
    """

    arguments: tuple[Any, ...]

    def __new__(cls, *arguments: Any) -> Record:
        record = super().__new__(cls)
        record.arguments = arguments
        return record

    def __setstate__(self, state: Any) -> None:
        """Attributes say nothing without their class."""


def _latin1(text: str, encoding: str) -> bytes:
    """What pickles of protocol 2 need `_codecs.encode` for: bytes that are written as text."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


def _allowed() -> dict[tuple[str, str], Any]:
    array = np.zeros(1)
    known: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("collections", "OrderedDict"): OrderedDict,
        ("_codecs", "encode"): _latin1,
    }
    for module in ("builtins", "__builtin__"):
        known |= {(module, name): getattr(builtins, name) for name in _CONTAINERS}
    for core in ("numpy.core", "numpy._core"):
        known[f"{core}.multiarray", "_reconstruct"] = array.__reduce__()[0]
        known[f"{core}.multiarray", "scalar"] = array[0].__reduce__()[0]
        known[f"{core}.numeric", "_frombuffer"] = array.__reduce_ex__(5)[0]
    return known


class _ArrayUnpickler(pickle.Unpickler):
    """pickle's, with nothing to call but what `_allowed` lists, and records."""

    allowed = _allowed()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in self.allowed:
            return self.allowed[module, name]
        if module.split(".")[0] in _LIBRARIES:
            return type(name, (Record,), {})
        raise PermissionError(f"{module}.{name}")


def is_array_pickle(path: Path) -> bool:
    """Whether a file named `.pkl` is a pickle of its own, and none that torch wrote.

    Args:
        path: Of the file.
    """
    if path.suffix != ".pkl" or zipfile.is_zipfile(path):
        return False
    with open(path, "rb") as file:
        return not file.read(len(_TORCH_MAGIC)).startswith(_TORCH_MAGIC)


def load_array_pickle(path: Path) -> dict[str, Any]:
    """The dictionary in a pickle; arrays become tensors, Haiku's mappings and BYOL's state dictionaries.

    Args:
        path: Of the file.

    Raises:
        PermissionError: It names something to call that is none of numpy's arrays, plain containers and
            records.
        ValueError: It is damaged, or holds no dictionary.
    """
    try:
        with open(path, "rb") as file:
            content = _plain(_ArrayUnpickler(file).load())
    except PermissionError as error:
        raise PermissionError(
            f"{path} is a pickle that wants to call {error}. Read are arrays of numpy in plain containers, "
            f"and what {', '.join(_LIBRARIES)} put around them; anything else could run code of whoever "
            "wrote the file. If you trust its source, re-save its arrays alone in such a pickle, or by "
            "torch.save."
        ) from error
    except Exception as error:  # a damaged pickle fails in any way that its bytes happen to spell
        raise ValueError(
            f"{path} ({path.stat().st_size} bytes) cannot be read as a pickle of arrays: "
            f"{type(error).__name__}: {error}. It may be truncated or of another kind."
        ) from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{path} holds a {type(content).__name__}, expected a dictionary of arrays by name."
        )
    return content


def _plain(value: Any) -> Any:
    """The same without records, arrays as tensors."""
    if isinstance(value, Record):
        fields = _FIELDS.get(type(value).__name__, ())
        if fields and len(fields) == len(value.arguments):
            return dict(zip(fields, map(_plain, value.arguments), strict=True))
        if len(value.arguments) == 1 and isinstance(value.arguments[0], Mapping):
            return _plain(value.arguments[0])
        return _plain(value.arguments)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item) for item in value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return torch.from_numpy(np.array(value))  # a copy: what is in a pickle may be read-only
    return value
