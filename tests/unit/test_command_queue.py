"""CommandQueue: order, results, failures, and what a second call does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmssl.engine.command_queue import Command, CommandQueue, last_line, last_scalars

COUNT = "import sys; open(sys.argv[1], 'a').write(sys.argv[2])"


@pytest.fixture
def told() -> list[str]:
    return []


def queue(tmp_path: Path, told: list[str], parallel: int = 2) -> CommandQueue:
    return CommandQueue(tmp_path / "work", tmp_path, parallel, tell=told.append)


def letters(tmp_path: Path, name: str, *after: str, key: str = "") -> Command:
    """Appends its name to a file, and finds how many letters are there."""
    file = tmp_path / "letters.txt"
    return Command(
        name,
        lambda: ["-c", COUNT, file, name],
        lambda: dict(found=float(len(file.read_text()))),
        after=after,
        key=key,
    )


def broken(name: str, *after: str) -> Command:
    return Command(name, lambda: ["-c", "raise SystemExit('no such thing')"], after=after)


def test_values_order_of_dependencies(tmp_path: Path, told: list[str]) -> None:
    one = queue(tmp_path, told)
    one.run([letters(tmp_path, "c", "a", "b"), letters(tmp_path, "b", "a"), letters(tmp_path, "a")])
    assert (tmp_path / "letters.txt").read_text() == "abc"
    assert [one.results[name]["found"] for name in "abc"] == [1.0, 2.0, 3.0]
    assert all(one.results[name]["seconds"] > 0 for name in "abc")
    assert not one.failed and any("[a] python -c" in line for line in told)


def test_state_a_second_call_runs_what_is_new_and_what_comes_after_it(tmp_path, told) -> None:
    commands = [letters(tmp_path, "a"), letters(tmp_path, "b", "a"), letters(tmp_path, "c")]
    queue(tmp_path, told).run(commands)
    first = (tmp_path / "letters.txt").read_text()
    queue(tmp_path, told).run(commands)
    assert (tmp_path / "letters.txt").read_text() == first
    changed = [letters(tmp_path, "a", key="other"), *commands[1:], letters(tmp_path, "k", "b")]
    again = queue(tmp_path, told)
    again.run(changed)
    assert (tmp_path / "letters.txt").read_text()[3:] == "abk"
    kept = json.loads((tmp_path / "work/results.json").read_text())
    assert kept["results"] == again.results and kept["keys"]["a"] == "other"


def test_values_a_failure_stops_only_what_needs_it(tmp_path: Path, told: list[str]) -> None:
    one = queue(tmp_path, told)
    one.run(
        [
            broken("x"),
            letters(tmp_path, "y", "x"),
            letters(tmp_path, "z", "y"),
            letters(tmp_path, "a"),
        ]
    )
    assert set(one.results) == {"a"}
    assert one.failed.keys() == {"x", "y", "z"} and "no such thing" in one.failed["x"]
    assert "'x' failed" in one.failed["y"] and "'y' failed" in one.failed["z"]
    assert (tmp_path / "work/x.log").read_text().strip() == "no such thing"
    repaired = queue(tmp_path, told)
    repaired.run([letters(tmp_path, "x"), letters(tmp_path, "y", "x")])
    assert {"a", "x", "y"} == set(repaired.results) and not repaired.failed


def test_values_never_more_than_parallel(tmp_path: Path, told: list[str]) -> None:
    code = "import time, sys; print(time.time()); time.sleep(0.4); print(time.time())"
    commands = [Command(name, lambda: ["-c", code]) for name in "abcd"]
    queue(tmp_path, told, 2).run(commands)
    spans = [
        tuple(map(float, (tmp_path / f"work/{name}.log").read_text().split())) for name in "abcd"
    ]
    overlaps = [sum(a < end and start < b for a, b in spans) for start, end in spans]
    assert max(overlaps) <= 2


def test_raises_for_commands_that_cannot_be_ordered(tmp_path: Path, told: list[str]) -> None:
    with pytest.raises(ValueError, match="one name"):
        queue(tmp_path, told).run([letters(tmp_path, "a"), letters(tmp_path, "a")])
    with pytest.raises(ValueError, match=r"'b' comes after \['a'\], which is nowhere"):
        queue(tmp_path, told).run([letters(tmp_path, "b", "a")])
    with pytest.raises(ValueError, match="wait for each other: 'a', 'b'"):
        queue(tmp_path, told).run([letters(tmp_path, "a", "b"), letters(tmp_path, "b", "a")])


def test_values_what_a_log_says_last(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    log.write_text("first\n01/02 - mmengine - INFO - Epoch [1]  loss: 2\n\n")
    assert last_line(log, 10) == "Epoch [1] "
    scalars = tmp_path / "run" / "20260101" / "vis_data" / "scalars.json"
    scalars.parent.mkdir(parents=True)
    scalars.write_text('{"mIoU": 0.25}\n{"loss": 1.0}\n{"mIoU": 0.5}\n')
    assert last_scalars(tmp_path / "run", dict(mIoU=100.0, other=1.0)) == dict(mIoU=50.0, other=0.0)
