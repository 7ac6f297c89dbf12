"""How much memory this process may still take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

_ROOT = Path("/")
_UNLIMITED = 1 << 60


class _Files(NamedTuple):
    """Names of the files of a control group, and of the pages in them that can be given up at once."""

    limit: str
    used: str
    kept: tuple[str, str]


_V2 = _Files("memory.max", "memory.current", ("inactive_file", "active_file"))
_V1 = _Files(
    "memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file")
)


def free_memory() -> int:
    """Bytes that could be had without swapping: of the machine, and of the container or job (Linux).

    Containers and batch systems limit the memory of a group of processes and kill the one that exceeds it,
    however much the machine has; pages that only keep files are not counted.

    Raises:
        ValueError: The system does not say.
    """
    return min(_free_of_machine(), *_free_of_groups())


def _free_of_machine() -> int:
    file = _ROOT / "proc/meminfo"
    for line in file.read_text().splitlines() if file.is_file() else ():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise ValueError("The free memory of this machine is not known; name a folder as cache.")


def _free_of_groups() -> Iterator[int]:
    """Bytes left in each limited control group that this process is in, the outer ones included."""
    yield _UNLIMITED
    groups = _ROOT / "proc/self/cgroup"
    for line in groups.read_text().splitlines() if groups.is_file() else ():
        _, controllers, name = line.split(":", 2)
        if controllers == "":
            mount, files = _ROOT / "sys/fs/cgroup", _V2
        elif "memory" in controllers.split(","):
            mount, files = _ROOT / "sys/fs/cgroup/memory", _V1
        else:
            continue
        inner = PurePosixPath(name.lstrip("/"))
        # a container sees its own group as the outermost, whatever its name outside
        for group in (inner, *inner.parents):
            yield _free_of_group(mount / group, files)


def _free_of_group(folder: Path, files: _Files) -> int:
    """Bytes left in a control group; very many without a limit."""
    if not (folder / files.limit).is_file() or not (folder / files.used).is_file():
        return _UNLIMITED
    limit = (folder / files.limit).read_text().strip()
    if not limit.isdigit() or int(limit) >= _UNLIMITED:  # "max", or the largest number of pages
        return _UNLIMITED
    used, stat = int((folder / files.used).read_text()), folder / "memory.stat"
    for line in stat.read_text().splitlines() if stat.is_file() else ():
        key, value = line.split()
        used -= int(value) if key in files.kept else 0
    return max(int(limit) - used, 0)
