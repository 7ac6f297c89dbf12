"""Functions of ours in C++: compiled for this processor when they are first needed, kept for later runs."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

import torch

from mmssl.ops.progress_bar import progress_bar

if os.name == "posix":
    import fcntl  # locks of files, which end with their process

_LOADING = threading.Lock()
_FLAGS = ("-std=c++17", "-O3", "-shared", "-fPIC", "-Wno-psabi")
# what torch itself makes use of here; it knows of an older processor, and of ATEN_CPU_CAPABILITY
_FLAGS_OF_CAPABILITY = {"AVX2": ("-mavx2", "-mfma"), "AVX512": ("-mavx2", "-mfma")}


def cpp_library(source: Path) -> ctypes.CDLL:
    """The functions of a file of C++.

    It is compiled once for each version of it, compiler and kind of processor, in the folder of torch's
    extensions (`TORCH_EXTENSIONS_DIR`, else `~/.cache/torch_extensions`). Processes and threads that come
    meanwhile wait. The first of `CXX`, g++, c++ and clang++ that there is compiles it.

    Args:
        source: The file; it may include the `*.h` files beside it, and no others but the standard library's.

    Returns:
        The library, whose functions release the interpreter's lock.

    Raises:
        RuntimeError: There is no compiler, it fails, or the folder cannot be written; so do later calls.

    Example:
        >>> cpp_library(Path("mmssl/ops/local_aggregation/aggregation.cpp"))  # doctest: +SKIP
        <CDLL '/home/user/.cache/torch_extensions/mmssl/aggregation_5c2f6d0e8b1a.so', ...>
    """
    with _LOADING:
        found = _library_or_reason(source)
    if isinstance(found, str):
        raise RuntimeError(found)
    return found


@functools.cache
def _library_or_reason(source: Path) -> ctypes.CDLL | str:
    if os.name != "posix":
        return f"{source.name} is compiled on Linux and macOS only"
    compiler = cpp_compiler()
    if compiler is None:
        return f"there is no C++ compiler for {source.name} (g++, clang++, or what CXX names)"
    try:
        return ctypes.CDLL(str(_built(source, compiler)))
    except OSError as error:
        return f"{source.name} cannot be compiled and loaded: {error}"
    except subprocess.CalledProcessError as error:
        end = "\n".join(error.stderr.splitlines()[-20:])
        return f"{compiler} cannot compile {source.name}:\n{end}"


def cpp_compiler() -> str | None:
    """The first of the compilers that there is: what `CXX` names, g++, c++, clang++."""
    names = (os.environ.get("CXX"), "g++", "c++", "clang++")
    return next((found for name in names if name and (found := shutil.which(name))), None)


def _built(source: Path, compiler: str) -> Path:
    """The file of the library, compiled unless it is there."""
    flags = (*_FLAGS, *_FLAGS_OF_CAPABILITY.get(torch.backends.cpu.get_cpu_capability(), ()))
    about = [compiler, *flags, platform.machine(), *platform.libc_ver()]
    texts = [each.read_bytes() for each in (source, *sorted(source.parent.glob("*.h")))]
    version = hashlib.sha256("\n".join(about).encode() + b"".join(texts)).hexdigest()[:12]
    folder = _folder()
    library = folder / f"{source.stem}_{version}.so"
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not library.exists():
                _compile(source, library, [compiler, *flags])
    return library


def _folder() -> Path:
    root = os.environ.get("TORCH_EXTENSIONS_DIR")
    if root is None:
        root = os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "torch_extensions")
    return Path(root).expanduser() / "mmssl"


def _compile(source: Path, library: Path, command: list[str]) -> None:
    with (
        progress_bar(f"Compiling {source.stem} for this processor, once", total=1),
        tempfile.TemporaryDirectory(dir=library.parent) as folder,
    ):
        partial = Path(folder) / library.name
        command = [*command, str(source), "-o", str(partial)]
        # clang comes without OpenMP in places: one thread is better than none
        if subprocess.run([*command, "-fopenmp"], capture_output=True).returncode:
            subprocess.run(command, capture_output=True, text=True, check=True)
        partial.replace(library)
