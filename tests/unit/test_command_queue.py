"""CommandQueue: order, results, failures, and what a second call does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mmssl.engine.command_plan import KEY_FILE, Command
from mmssl.engine.command_queue import CommandQueue, last_line, last_scalars, usual_parallel
from mmssl.engine.folder_lock import locked

ROOT = Path(__file__).resolve().parents[2]
COUNT = "import sys; open(sys.argv[1], 'a').write(sys.argv[2])"


@pytest.fixture
def told() -> list[str]:
    return []


def queue(tmp_path: Path, told: list[str], parallel: int = 2, code: str = "") -> CommandQueue:
    return CommandQueue(tmp_path / "work", tmp_path, parallel, tell=told.append, code=code)


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


def test_state_results_of_another_key_are_never_mixed_in(tmp_path: Path, told: list[str]) -> None:
    """A second measure of a network, which the second call did not ask for, is of the network before."""

    def commands(key: str) -> list[Command]:
        return [
            letters(tmp_path, "train", key=key),
            letters(tmp_path, "probe", "train", key="p"),
            letters(tmp_path, "detect", "train", key="d"),
        ]

    queue(tmp_path, told, code="one").run(commands("short"))
    again = queue(tmp_path, told, code="two")
    again.run(commands("long")[:2])
    assert set(again.current(commands("long"))) == {"train", "probe"}
    assert set(again.current(commands("short"))) == {"detect"}
    assert again.made_by == dict(train="two", probe="two", detect="one")
    whole = queue(tmp_path, told)
    whole.run(commands("long"))
    assert (tmp_path / "letters.txt").read_text().endswith("trainprobedetect")
    assert set(whole.current(commands("long"))) == {"train", "probe", "detect"}


def test_state_a_folder_of_another_key_is_moved_aside(tmp_path: Path, told: list[str]) -> None:
    run = tmp_path / "run"

    def command(key: str) -> Command:
        code = "import sys; open(sys.argv[1], 'a').write('x')"
        return Command("train", lambda: ["-c", code, run / "weights"], key=key, folder=run)

    queue(tmp_path, told).run([command("a")])
    (tmp_path / "work/results.json").unlink()
    queue(tmp_path, told).run([command("a")])
    assert (run / "weights").read_text() == "xx"  # interrupted, and gone on with
    queue(tmp_path, told).run([command("b")])
    assert (run / "weights").read_text() == "x" and (run / KEY_FILE).read_text() == "b"
    (old,) = tmp_path.glob("run_until_*")
    assert (old / "weights").read_text() == "xx" and any(str(old) in line for line in told)


def written(tmp_path: Path, name: str, *after: str, product: Path | None = None) -> Command:
    """Appends its name to a file, and writes a product."""
    code = f"import sys, pathlib; open(sys.argv[1], 'a').write('{name}')"
    code += f"; pathlib.Path({str(product)!r}).write_text(sys.argv[2])" if product else ""
    words = ["-c", code, tmp_path / "letters.txt", str(tmp_path)]
    return Command(name, lambda: words, after=after, product=product)


def test_state_what_is_gone_is_made_again_when_it_is_needed(tmp_path: Path, told) -> None:
    """Weights that somebody removed are needed by a new measure only; measures of the old ones go, too."""
    made, letters_file = tmp_path / "weights", tmp_path / "letters.txt"
    t, p = written(tmp_path, "t", product=made), written(tmp_path, "p", "t")
    d, e = written(tmp_path, "d", "t"), written(tmp_path, "e", "t")

    def run(*commands: Command, known: tuple[Command, ...] = ()) -> str:
        letters_file.write_text("")
        one = queue(tmp_path, told)
        one.run(commands, known)
        results.update(one.results)
        for name in set(results) - set(one.results):
            del results[name]
        return "".join(sorted(letters_file.read_text()))

    results: dict[str, dict[str, float]] = {}
    assert run(t, p) == "pt"
    made.unlink()
    assert run(t, p) == "" and not made.exists()
    assert run(t, p, d) == "dpt" and made.exists()
    assert run(t, p, d, e) == "e"
    made.unlink()
    # a call for a part: what is of the weights before is no result any more
    assert run(p, known=(t, p, d, e)) == "" and set(results) == {"t", "p", "d", "e"}
    f = written(tmp_path, "f", "t")
    assert run(f, known=(t, p, d, e)) == "ft" and set(results) == {"t", "f"}
    assert run(t, p, d, known=(e,)) == "dp"


def test_state_what_is_always_run_makes_nothing_stale(tmp_path: Path, told: list[str]) -> None:
    def commands(key: str) -> list[Command]:
        draw = replace(letters(tmp_path, "d", key=key), always=True)
        return [draw, letters(tmp_path, "p", "d"), letters(tmp_path, "q", "p")]

    for key, expected in (("a", "dpq"), ("a", "d"), ("b", "dpq")):
        (tmp_path / "letters.txt").write_text("")
        one = queue(tmp_path, told)
        one.run(commands(key))
        assert (tmp_path / "letters.txt").read_text() == expected
        assert set(one.current(commands(key))) == {"d", "p", "q"}


def test_state_results_of_another_machine(tmp_path: Path, told: list[str]) -> None:
    """They are taken over under the wanted keys only; what they made is not here, whatever lies there."""

    def commands(folder: Path, key: str) -> list[Command]:
        train = replace(written(folder, "t", product=folder / "weights"), key=key)
        return [train, written(folder, "p", "t"), written(folder, "q", "t")]

    there, here = tmp_path / "there", tmp_path / "here"
    for folder in (there, here):
        folder.mkdir()
    first = queue(there, told, code="theirs")
    first.run(commands(there, "a")[:2])
    kept = json.loads(json.dumps(first.kept(["t", "p"])))
    assert kept["t"] == dict(key="a", code="theirs", found=first.results["t"])
    second = queue(here, told, code="ours")
    assert second.take_over(kept, commands(here, "b")) == []
    second.run(commands(here, "b"))  # leaves other weights and results behind
    assert second.take_over(kept, commands(here, "a")) == ["t", "p"]
    assert second.take_over(kept, commands(here, "a")) == []
    (here / "letters.txt").write_text("")
    again = queue(here, told, code="ours")
    again.run(commands(here, "a")[:2])
    assert (here / "letters.txt").read_text() == "" and again.foreign == {"t", "p"}
    assert {name: again.results[name] for name in "tp"} == first.results
    assert again.made_by["p"] == "theirs"
    again.run(commands(here, "a"))  # the third needs weights
    assert sorted((here / "letters.txt").read_text()) == ["p", "q", "t"] and not again.foreign
    assert set(again.made_by.values()) == {"ours"}
    with locked(here / "work"), pytest.raises(BlockingIOError):
        again.take_over(kept, commands(here, "a"))


def test_state_a_folder_of_another_key_is_gone(tmp_path: Path, told: list[str]) -> None:
    """What lies in the folder of a training was made under another key: the probe gets its own."""
    run = tmp_path / "run"

    def commands(key: str) -> list[Command]:
        train = Command("t", lambda: ["-c", ""], key=key, folder=run)
        return [train, letters(tmp_path, "p", "t", key="p"), letters(tmp_path, "q", "t", key="q")]

    first = queue(tmp_path, told)
    first.run(commands("a")[:2])
    assert not commands("a")[0].is_gone("a") and commands("a")[0].is_gone("b")
    (run / KEY_FILE).write_text("b")
    queue(tmp_path, told).run(commands("a"))
    assert sorted((tmp_path / "letters.txt").read_text()) == ["p", "p", "q"]
    assert (run / KEY_FILE).read_text() == "a"


def test_values_what_a_failure_tells(tmp_path: Path, told: list[str]) -> None:
    """No figures, no start, no output: the others end, and the failure has a last line."""
    absent = tmp_path / "absent.json"
    suicide = f"import os; os.kill(os.getpid(), {signal.SIGKILL.value})"
    one = queue(tmp_path, told)
    one.run(
        [
            Command("read", lambda: ["-c", ""], lambda: json.loads(absent.read_text())),
            Command("words", lambda: [absent.read_text()]),
            Command("killed", lambda: ["-c", suicide]),
            Command("silent", lambda: ["-c", "raise SystemExit(3)"]),
            letters(tmp_path, "a"),
        ]
    )
    assert set(one.results) == {"a"} and one.failed.keys() == {"read", "words", "killed", "silent"}
    assert "no result" in one.failed["read"] and "absent.json" in one.failed["read"]
    assert "not started" in one.failed["words"] and "exit status 3" in one.failed["silent"]
    assert one.failed["killed"].endswith("killed by SIGKILL; out of memory?")
    assert sum("FAILED" in line for line in told) == 4


def test_raises_for_a_second_call_in_one_folder(tmp_path: Path, told: list[str]) -> None:
    one = queue(tmp_path, told)
    with (
        locked(tmp_path / "work"),
        pytest.raises(BlockingIOError, match="Another call is at work in"),
    ):
        one.run([letters(tmp_path, "a")])
    one.run([letters(tmp_path, "a")])
    assert set(one.results) == {"a"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_state_of_a_queue_that_is_told_to_end(tmp_path: Path, number: signal.Signals) -> None:
    """SIGTERM ends its commands; after SIGKILL, which nobody hears, they hold the folder."""
    child = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
    file = tmp_path / "pid"
    program = (
        "import sys; from pathlib import Path; from mmssl.engine.command_queue import *\n"
        f"CommandQueue(Path({str(tmp_path)!r}) / 'work', Path('.'))"
        f".run([Command('a', lambda: ['-c', {child!r}, {str(file)!r}])])"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.DEVNULL)
    while not (file.exists() and file.read_text()):
        assert process.poll() is None
        time.sleep(0.05)
    pid = int(file.read_text())
    process.send_signal(number)
    try:
        status = process.wait(40)
        if number == signal.SIGTERM:
            assert status == 128 + number
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)
        else:
            os.kill(pid, 0)
            with pytest.raises(BlockingIOError, match="left behind"), locked(tmp_path / "work"):
                pass
    finally:
        if number == signal.SIGKILL:
            os.kill(pid, signal.SIGKILL)


def test_values_commands_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    for gpu, expected in ((False, 16), (True, 4)):
        monkeypatch.setattr("torch.cuda.is_available", lambda gpu=gpu: gpu)
        assert usual_parallel() == expected


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
    log.write_text(
        "11/26 12:00:00 - mmengine - INFO - Epoch(train) [1][2/9]  base_lr: 1e-3 lr: 1.0e-03  eta: 0:01:00"
    )
    assert last_line(log, 40).rstrip() == "Epoch(train) [1][2/9] eta: 0:01:00"
    scalars = tmp_path / "run" / "20260101" / "vis_data" / "scalars.json"
    scalars.parent.mkdir(parents=True)
    scalars.write_text('{"mIoU": 0.25}\n{"loss": 1.0}\n{"mIoU": 0.5}\n')
    found = last_scalars(tmp_path / "run", dict(mIoU=100.0, other=1.0), absent=0.0)
    assert found == dict(mIoU=50.0, other=0.0)
    with pytest.raises(ValueError, match=r"has no other: nothing was validated"):
        last_scalars(tmp_path / "run", dict(mIoU=100.0, other=1.0))
