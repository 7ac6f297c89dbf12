"""Reading a weights file without running code that it may contain."""

from __future__ import annotations

import argparse
import hashlib
import pickle
import warnings
import zipfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from mmengine.runner.checkpoint import get_torch_safe_globals
from safetensors import SafetensorError, safe_open
from torchvision.models import get_model_weights

from mmssl.convert import absent_classes
from mmssl.convert.array_pickle import is_array_pickle, load_array_pickle


def local_file(path: str | Path) -> Path:
    """The local file of a path, a URL or `torchvision://name` (downloaded once, into torch's cache).

    Raises:
        FileNotFoundError: It cannot be downloaded; the message says where to put it by hand.
    """
    text = str(path)
    if text.startswith("torchvision://"):
        text = get_model_weights(text.removeprefix("torchvision://"))["IMAGENET1K_V1"].url
    if not text.startswith(("http://", "https://")):
        return Path(text).expanduser()
    cached = Path(torch.hub.get_dir()) / "checkpoints" / text.rsplit("/", 1)[-1]
    if not cached.exists():
        cached.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(text, str(cached))
        except OSError as error:
            raise FileNotFoundError(
                f"{text} cannot be downloaded ({error}). Without a network, put the file here: {cached}"
            ) from error
    return cached


def _unreadable(path: Path, reason: str) -> ValueError:
    return ValueError(
        f"{path} ({path.stat().st_size} bytes) cannot be read as a weights file: {reason} It may be "
        "truncated (an interrupted download or copy) or of another kind; expected is a file written "
        "by torch.save or safetensors."
    )


def _load_safetensors(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            state_dict = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return dict(state_dict=state_dict, meta=dict(file.metadata() or {}))
    except SafetensorError as error:
        raise _unreadable(path, f"{error}.") from error


def _first_line(error: Exception) -> str:
    line = (str(error) or "it ends early").splitlines()[0]
    # torch advises to load without protection, which cures no damage.
    if "weights_only" in line:
        line = "it was not written by torch.save, or it is damaged"
    return f"{type(error).__name__}: {line}."


def _is_refused(error: pickle.UnpicklingError) -> bool:
    """Whether the safe unpickler met something it must not run, rather than damage."""
    signs = ("GLOBAL", "Unsupported class", "reduce", "persistent_load")
    return any(sign in str(error) for sign in signs)


def _load_pickle(path: Path, trust_pickle: bool, mapped: bool) -> Any:
    # Plain data that files of mmengine, DINO, EsViT and PixPro carry beside the tensors.
    allowed = [*get_torch_safe_globals(), argparse.Namespace]
    # files of torch < 1.6 are no archives and cannot be mapped
    mapped = mapped and zipfile.is_zipfile(path)
    reader: dict[str, Any] = dict(weights_only=True, mmap=mapped)
    if trust_pickle:
        reader = dict(weights_only=False, pickle_module=absent_classes, mmap=mapped)
    try:
        with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
            # the code of a module's class may have changed since; its tensors are what counts
            warnings.simplefilter("ignore", torch.serialization.SourceChangeWarning)
            return torch.load(path, map_location="cpu", **reader)
    except Exception as error:  # a damaged pickle fails in any way that its bytes happen to spell
        if not (isinstance(error, pickle.UnpicklingError) and _is_refused(error)):
            raise _unreadable(path, _first_line(error)) from error
        try:
            with torch.serialization.safe_globals(allowed):
                wants = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        except (ValueError, RuntimeError):  # the file format of torch < 1.6 cannot be listed
            wants = []
        raise PermissionError(
            f"{path} is a pickle that wants to import more than tensors and plain data"
            f"{': ' + ', '.join(sorted(wants)) if wants else ''}. Loading it would run code of whoever "
            "wrote the file, so it was refused. If you trust its source, say so with "
            "trust_pickle=True (in a config, or --trust-pickle of the tools that export, convert, test); or "
            "re-save its tensors alone: "
            "torch.save(torch.load(file, weights_only=False)['state_dict'], new_file)."
        ) from error


def load_weights_file(
    path: str | Path, *, trust_pickle: bool = False, mapped: bool = False
) -> dict[str, Any]:
    """Read a `.pth`/`.pt`/`.tar`, a `.safetensors`, or a `.pkl` of numpy arrays into main memory.

    Args:
        path: A local file, an http(s) URL or `torchvision://name` (its first ImageNet weights).
        trust_pickle: Allow a pickle to run code. Only for files whose source you trust. Objects whose
            classes are not installed are read as `AbsentObject`, with their attributes alone.
        mapped: Tensors of `state_dict` (all, in a file of weights alone) are read when they are used,
            and not held in memory: for those who copy what they need. The file must stay as it is so
            long; removing it, or renaming another to its place, does no harm.

    Returns:
        What the file holds; for safetensors `dict(state_dict=..., meta=...)`.

    Raises:
        FileNotFoundError: There is no such file; names its neighbours.
        PermissionError: A pickle wants more than tensors and plain data, and is not trusted.
        ValueError: The file is truncated, damaged, or not a dictionary of weights.
    """
    file = local_file(path)
    if not file.is_file():
        folder = file if file.is_dir() else file.parent
        near = sorted(
            p.name for p in folder.glob("*") if p.suffix in (".pth", ".pt", ".safetensors")
        )
        raise FileNotFoundError(
            f"There is no weights file {file}{' (it is a folder)' if file.is_dir() else ''}. "
            + (
                f"In {folder} there are: {', '.join(near[-10:])}."
                if near
                else f"{folder} {'holds no weights' if folder.is_dir() else 'does not exist'}."
            )
        )
    if file.suffix == ".safetensors":
        return _load_safetensors(file)
    if is_array_pickle(file):
        return load_array_pickle(file)
    loaded = _load_pickle(file, trust_pickle, mapped)
    if not isinstance(loaded, dict):
        raise ValueError(
            f"{file} holds a {type(loaded).__name__}, expected a dictionary of weights (a state dict or "
            "a checkpoint that contains one). For a saved module: torch.save(module.state_dict(), file)."
        )
    if mapped and "state_dict" in loaded:
        loaded |= deepcopy({key: item for key, item in loaded.items() if key != "state_dict"})
    return loaded


def file_sha256(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
