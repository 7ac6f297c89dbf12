"""Memory that may still be taken: the machine's, and what a container or job is left."""

from __future__ import annotations

import socket

import pytest

from mmssl.datasets import free_memory as module
from mmssl.datasets.free_memory import free_memory
from mmssl.ops import collectives

MACHINE = {"proc/meminfo": "MemTotal:  9000 kB\nMemFree:  10 kB\nMemAvailable:  4000 kB\n"}
STAT = "anon 600000\nfile 300000\ninactive_file 200000\nactive_file 50000\nshmem 50000"


def files(group: str, prefix: str = "memory.", **values: str | int) -> dict[str, str]:
    return {f"sys/fs/cgroup/{group}{prefix}{name}": f"{value}\n" for name, value in values.items()}


def v1(group: str, limit: int, usage: int) -> dict[str, str]:
    stat = "cache 9\ninactive_file 5\ntotal_inactive_file 100\ntotal_active_file 20"
    return files(f"memory/{group}", limit_in_bytes=limit, usage_in_bytes=usage, stat=stat)


ONE = {"proc/self/cgroup": "0::/\n"}
NESTED = {"proc/self/cgroup": "0::/user/job\n"}
OLD = {"proc/self/cgroup": "5:cpu,cpuacct:/\n4:memory:/job\n0::/\n"}
SMALL = {"max": 1000000, "current": 900000}
CASES = {
    "no_groups": ({}, 4096000),
    "no_limit": (ONE | files("", max="max", current=900000, stat=STAT), 4096000),
    "container": (ONE | files("", stat=STAT, **SMALL), 350000),
    "container_without_details": (ONE | files("", **SMALL), 100000),
    "overdrawn": (ONE | files("", max=1000, current=2000), 0),
    "job": (NESTED | files("user/job/", **SMALL) | files("user/", max=2000000, current=0), 100000),
    "outer_group": (NESTED | files("user/", **SMALL) | files("user/job/", max="max"), 100000),
    "container_named_outside": (NESTED | files("", **SMALL), 100000),
    "large_container": (ONE | files("", max=9000000, current=0), 4096000),
    "version_1": (OLD | v1("job/", 5000, 3000), 2120),
    "version_1_without_limit": (OLD | v1("job/", 9223372036854771712, 3000), 4096000),
}


@pytest.mark.parametrize("case", CASES)
def test_values_of_what_is_left(tmp_path, monkeypatch, case) -> None:
    written, expected = CASES[case]
    for name, text in (MACHINE | written).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(module, "_ROOT", tmp_path)
    assert free_memory() == expected


def test_raises_where_nothing_is_known(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "_ROOT", tmp_path)
    with pytest.raises(ValueError, match="name a folder as cache"):
        free_memory()


@pytest.mark.parametrize(("told", "expected"), [(None, 2), ("3", 3)])
def test_values_of_ranks_on_this_machine(monkeypatch, told, expected) -> None:
    """As torchrun tells, else by the names of the machines."""
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert collectives.ranks_on_this_machine() == 1
    own = socket.gethostname()
    monkeypatch.setattr(collectives, "world_size", lambda: 4)
    monkeypatch.setattr(collectives, "gather_objects", lambda name: [name, "a", own, "b"])
    if told is not None:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", told)
    assert collectives.ranks_on_this_machine() == expected
