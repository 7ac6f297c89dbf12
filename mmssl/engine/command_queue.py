"""CommandQueue: long work as a list of commands that depend on each other, kept and resumed.

What `tools/demo.py` and `tools/compare.py` are made of: each command can be run by hand, its output is in a
file of its own, and what it found is written at once, so that a second call goes on where the first one
stopped.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmssl.visualization.report import write_text_atomically

POLL_SECONDS = 0.5
TELL_SECONDS = 30.0


@dataclass(frozen=True)
class Command:
    """A Python program with its arguments.

    Attributes:
        name: Of the command, its output file and its result.
        words: Returns the words behind `python`, once everything in `after` has ended: they may name files
            that were not there before.
        read: Finds the figures once the command has ended.
        after: Names of commands that have to end before.
        key: What the result depends on. A result that was found under another key is found anew.
    """

    name: str
    words: Callable[[], Sequence[str | Path]]
    read: Callable[[], dict[str, float]] = dict
    after: Sequence[str] = ()
    key: str = ""


def _show(text: str) -> None:
    """A line on standard output, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@dataclass
class CommandQueue:
    """Runs commands side by side, in the order of their dependencies.

    Attributes:
        folder: Outputs, and `results.json`.
        root: Where the commands run.
        parallel: Commands at a time; each has its share of the cores.
        tell: Shows a line to the user.
        results: Figures by command, and `seconds` of each.
        failed: Names of commands that failed, with the end of their output.
    """

    folder: Path
    root: Path
    parallel: int = 1
    tell: Callable[[str], None] = _show
    results: dict[str, dict[str, float]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._record = self.folder / "results.json"
        self._keys: dict[str, str] = {}
        if self._record.exists():
            kept = json.loads(self._record.read_text())
            self.results, self._keys = kept["results"], kept["keys"]

    def log(self, name: str) -> Path:
        """The file with the output of a command."""
        return self.folder / f"{name.replace(' ', '_').replace('/', '_').replace(',', '')}.log"

    def run(self, commands: Sequence[Command]) -> None:
        """Run what an earlier call has not finished; a failure stops what depends on it, nothing else.

        Raises:
            ValueError: Two commands of one name, a dependency that is none of them and has no result, or
                commands that wait for each other.
        """
        waiting = self._open(commands)
        running: dict[str, tuple[Command, subprocess.Popen, float]] = {}
        total, told = len(waiting), time.monotonic()
        try:
            while waiting or running:
                self._drop_unreachable(waiting)
                if not running and waiting and not any(map(self._ready, waiting.values())):
                    names = ", ".join(map(repr, waiting))
                    raise ValueError(f"Commands wait for each other: {names}.")
                for command in [c for c in waiting.values() if self._ready(c)]:
                    if len(running) < self.parallel:
                        del waiting[command.name]
                        self.results.pop(command.name, None)
                        running[command.name] = (command, self._start(command), time.monotonic())
                time.sleep(POLL_SECONDS)
                for name, (command, process, start) in list(running.items()):
                    if process.poll() is not None:
                        del running[name]
                        self._end(command, process, time.monotonic() - start)
                        told = time.monotonic()
                if running and time.monotonic() - told >= TELL_SECONDS:
                    told = time.monotonic()
                    lines = [f"{name}: {last_line(self.log(name), 56)}" for name in running]
                    ended = total - len(waiting) - len(running)
                    self.tell(f"  {ended}/{total} | " + " | ".join(lines))
        finally:
            for _, process, _ in running.values():
                process.terminate()

    def _open(self, commands: Sequence[Command]) -> dict[str, Command]:
        by_name = {command.name: command for command in commands}
        if len(by_name) != len(commands):
            raise ValueError("Two commands have one name: results would overwrite each other.")
        for command in commands:
            absent = [n for n in command.after if n not in by_name and n not in self.results]
            if absent:
                raise ValueError(f"{command.name!r} comes after {absent}, which is nowhere.")
        stale = {
            name
            for name, command in by_name.items()
            if name not in self.results or self._keys.get(name) != command.key
        }
        # what comes after something that is found anew is found anew as well
        grown = True
        while grown:
            more = {c.name for c in commands if c.name not in stale and stale & set(c.after)}
            grown = bool(more)
            stale |= more
        for name in stale:
            self.results.pop(name, None)
        return {name: command for name, command in by_name.items() if name in stale}

    def _ready(self, command: Command) -> bool:
        return all(name in self.results for name in command.after)

    def _drop_unreachable(self, waiting: dict[str, Command]) -> None:
        lost = True
        while lost:
            lost = False
            for name, command in list(waiting.items()):
                broken = [before for before in command.after if before in self.failed]
                if broken:
                    self.failed[name] = f"not run, because {broken[0]!r} failed"
                    del waiting[name]
                    lost = True

    def _start(self, command: Command) -> subprocess.Popen:
        words = [str(word) for word in command.words()]
        self.tell(f"[{command.name}] python {shlex.join(words)}")
        path = os.pathsep.join(filter(None, [str(self.root), os.environ.get("PYTHONPATH", "")]))
        threads = max(1, (os.cpu_count() or 1) // self.parallel)
        environment = os.environ | dict(
            PYTHONPATH=path, PYTHONWARNINGS="ignore", OMP_NUM_THREADS=str(threads)
        )
        with open(self.log(command.name), "w") as file:
            return subprocess.Popen(
                [sys.executable, *words],
                cwd=self.root,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
            )

    def _end(self, command: Command, process: subprocess.Popen, seconds: float) -> None:
        log = self.log(command.name)
        if process.returncode:
            self.failed[command.name] = log.read_text(errors="replace")[-3000:]
            self.tell(f"  {command.name}: FAILED, see {log}")
            return
        found = command.read()
        self.results[command.name] = found | dict(seconds=round(seconds, 1))
        self._keys[command.name] = command.key
        told = ", ".join(f"{key} {value:.4g}" for key, value in found.items())
        self.tell(f"  {command.name}: {told or 'done'}, {seconds:.0f} s")
        self._write()

    def _write(self) -> None:
        keys = {name: self._keys[name] for name in self.results}
        record = json.dumps(dict(results=self.results, keys=keys), indent=1)
        write_text_atomically(self._record, record)


def last_line(log: Path, width: int) -> str:
    """What a running command printed last, cut and padded to `width`."""
    lines = log.read_text(errors="replace").replace("\r", "\n").split("\n")
    text = next((line for line in reversed(lines) if line.strip()), "")
    # of a log line the message alone: time and logger would fill the width
    message = " ".join(text.rpartition(" - INFO - ")[2].split())
    return message[:width].ljust(width)


def newest_checkpoint(folder: Path) -> Path:
    """The checkpoint that a run ended with."""
    return Path((folder / "last_checkpoint").read_text().strip())


def last_scalars(folder: Path, factors: Mapping[str, float]) -> dict[str, float]:
    """The last value of each metric in the newest log of a run, times a factor.

    A metric that was never logged is 0: a detector that finds no box at all gets no AP from the COCO
    evaluation.

    Args:
        folder: Work folder of a run.
        factors: Factor by metric.
    """
    log = max(folder.glob("*/vis_data/scalars.json"), key=lambda path: path.stat().st_mtime)
    found = dict.fromkeys(factors, 0.0)
    for line in log.read_text().splitlines():
        record = json.loads(line)
        found.update({name: record[name] * by for name, by in factors.items() if name in record})
    return found
