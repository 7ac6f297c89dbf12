"""Work of rank 0 that the other of two gloo processes waits for."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from mmssl.ops import first_rank
from mmssl.ops.faiss_kmeans import FaissKMeans
from mmssl.ops.first_rank import on_first_rank

pytestmark = pytest.mark.dist


class Picky(Exception):
    """Cannot be built from its arguments."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}: {why}")


def refuse(*_: object) -> None:
    raise MemoryError("faiss has no room")


def refuse_picky() -> None:
    raise Picky("rows", "too many")


def error_of(call) -> tuple[str, str]:
    try:
        call()
    except Exception as error:
        return type(error).__name__, str(error)
    return "", ""


def result_of_long_work() -> tuple[int | None, int]:
    """Work that ends only once the ranks have met five times; and how often they did."""
    met, enough = 0, threading.Event()
    ask = first_rank.any_rank

    def counted(flag: bool) -> bool:
        nonlocal met
        met += 1
        if met == 5:
            enough.set()
        return ask(flag)

    first_rank.any_rank, first_rank.SECONDS_BETWEEN_CALLS = counted, 0.01
    result = on_first_rank(lambda: 42 if enough.wait(60) else 0)
    first_rank.any_rank = ask
    return result, met


def worker(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder / 'store'}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    rows = torch.randn(20, 3, generator=torch.Generator().manual_seed(rank))
    result, met = result_of_long_work()
    errors = [
        error_of(lambda: on_first_rank(refuse)),
        error_of(lambda: on_first_rank(refuse_picky)),
    ]
    FaissKMeans._train = refuse
    errors.append(error_of(lambda: FaissKMeans().fit(rows, 4, seed=0)))
    torch.save(dict(result=result, met=met, errors=errors), folder / f"rank{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> list[dict]:
    folder = tmp_path_factory.mktemp("first_rank")
    mp.spawn(worker, (folder,), nprocs=2)
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]


def test_values_ranks_meet_while_the_first_works(found) -> None:
    assert [each["result"] for each in found] == [42, None]
    assert found[0]["met"] == found[1]["met"] >= 5


def test_raises_the_error_of_the_first_on_both(found) -> None:
    for each in found:
        assert each["errors"][0] == ("MemoryError", "faiss has no room")
        assert each["errors"][1] == ("RuntimeError", "Picky on rank 0: rows: too many")


def test_raises_what_faiss_raises_on_both(found) -> None:
    pytest.importorskip("faiss")
    for each in found:
        assert each["errors"][2] == ("MemoryError", "faiss has no room")
