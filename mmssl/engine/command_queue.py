"""CommandQueue: long work as a list of commands that depend on each other, kept and resumed.

What `tools/demo.py` and `tools/compare.py` are made of: each command can be run by hand, its output is in a
file of its own, and what it found is written at once, so that a second call goes on where the first one
stopped. A result is kept under a key, what it depends on; results under another key are never mixed in.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mmssl.engine.command_plan import KEY_FILE, Command, made_under, to_find, whole_keys
from mmssl.engine.folder_lock import locked
from mmssl.engine.hooks.checkpoint_hook import latest_checkpoint
from mmssl.ops.atomic_file import write_text_atomically

POLL_SECONDS = 0.5
TELL_SECONDS = 30.0
MOST_ON_A_GPU = 4
END_SECONDS = 30.0
"""A training that is told to end writes a checkpoint first."""


def _show(text: str) -> None:
    """A line on standard output, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def usual_parallel() -> int:
    """Commands at a time: as many as cores, but no more than four on a GPU, whose memory they share."""
    cores = os.cpu_count() or 1
    return min(cores, MOST_ON_A_GPU) if torch.cuda.is_available() else cores


@dataclass
class CommandQueue:
    """Runs commands side by side, in the order of their dependencies.

    Attributes:
        folder: Outputs, and `results.json`.
        root: Where the commands run.
        parallel: Commands at a time; each has its share of the cores.
        tell: Shows a line to the user.
        code: Names the state of the code; kept with each result.
        results: Figures by command, and `seconds` of each.
        failed: Names of commands that failed, with the end of their output.
        made_by: State of the code by command.
        foreign: Names of results that were taken over.
    """

    folder: Path
    root: Path
    parallel: int = 1
    tell: Callable[[str], None] = _show
    code: str = ""
    results: dict[str, dict[str, float]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    made_by: dict[str, str] = field(default_factory=dict)
    foreign: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._record = self.folder / "results.json"
        self._keys: dict[str, str] = {}
        self._read()

    def _read(self) -> None:
        if self._record.exists():
            kept = json.loads(self._record.read_text())
            self.results, self._keys = kept["results"], kept["keys"]
            self.made_by = kept.get("made_by", {})
            self.foreign = set(kept.get("foreign", []))

    def log(self, name: str) -> Path:
        """The file with the output of a command."""
        return self.folder / f"{name.replace(' ', '_').replace('/', '_').replace(',', '')}.log"

    def current(self, commands: Sequence[Command]) -> dict[str, dict[str, float]]:
        """Results that these commands would find: those under other keys are left out."""
        keys = whole_keys(commands, self._keys)
        return {
            name: self.results[name]
            for name, key in keys.items()
            if name in self.results and self._keys[name] == key
        }

    def kept(self, names: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Results by command with their `key` and `code`, for `take_over` by a queue elsewhere."""
        return {
            name: dict(
                key=self._keys[name], code=self.made_by.get(name, ""), found=self.results[name]
            )
            for name in names
        }

    def mixed_code(self, names: Iterable[str]) -> str:
        """A sentence if results are of another state of the code than the present one, else nothing."""
        old = [name for name in names if self.made_by.get(name, "") != self.code]
        if not old:
            return ""
        return (
            f"{len(old)} results are of another state of the code than the present one, among them that of "
            f"{old[0]!r}; another --work-dir measures all anew."
        )

    def take_over(
        self, kept: Mapping[str, Mapping[str, Any]], commands: Sequence[Command]
    ) -> list[str]:
        """Take results that a queue elsewhere found under the keys of commands that have none here.

        What those commands made stays elsewhere: where more is to be done with it, they are run again.

        Args:
            kept: From `kept`.
            commands: Whose results are wanted.

        Returns:
            Names of the results that were taken.

        Raises:
            BlockingIOError: A call is at work in the folder.
        """
        with locked(self.folder):
            self._read()
            here = self.current(commands)
            wanted = whole_keys(commands, {})
            new = [
                name
                for name, key in wanted.items()
                if name not in here and name in kept and kept[name]["key"] == key
            ]
            for name in new:
                self.results[name], self._keys[name] = dict(kept[name]["found"]), wanted[name]
                self.made_by[name] = kept[name]["code"]
            self.foreign |= set(new)
            self._write()
        return new

    def run(self, commands: Sequence[Command], known: Sequence[Command] = ()) -> None:
        """Run what an earlier call has not finished; a failure stops what depends on it, nothing else.

        Args:
            commands: That are asked for.
            known: Others that earlier calls may have run: they are run only if what they made is needed and
                gone, and lose their results when what they come after is found anew.

        Raises:
            BlockingIOError: Another call is at work in the folder.
            ValueError: Two commands of one name, a dependency that is none of them and has no result, or
                commands that wait for each other.
        """
        running: dict[str, tuple[Command, subprocess.Popen, float]] = {}
        with locked(self.folder) as self._lock, _sigterm_raises():
            self._read()
            waiting = self._open(commands, known)
            try:
                self._run(waiting, running)
            finally:
                _end_all([process for _, process, _ in running.values()])

    def _run(
        self,
        waiting: dict[str, Command],
        running: dict[str, tuple[Command, subprocess.Popen, float]],
    ) -> None:
        total, told = len(waiting), time.monotonic()
        while waiting or running:
            self._drop_unreachable(waiting)
            if not running and waiting and not any(map(self._ready, waiting.values())):
                names = ", ".join(map(repr, waiting))
                raise ValueError(f"Commands wait for each other: {names}.")
            for command in [c for c in waiting.values() if self._ready(c)]:
                if len(running) < self.parallel:
                    del waiting[command.name]
                    process = self._start(command)
                    if process is not None:
                        running[command.name] = (command, process, time.monotonic())
            time.sleep(POLL_SECONDS if running else 0)
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

    def _open(self, commands: Sequence[Command], known: Sequence[Command]) -> dict[str, Command]:
        by_name = {command.name: command for command in commands}
        if len(by_name) != len(commands):
            raise ValueError("Two commands have one name: results would overwrite each other.")
        for command in commands:
            absent = [n for n in command.after if n not in by_name and n not in self.results]
            if absent:
                raise ValueError(f"{command.name!r} comes after {absent}, which is nowhere.")
        known = [command for command in known if command.name not in by_name]
        self._wanted = whole_keys([*known, *commands], self._keys)
        found = {name: self._keys[name] for name in self.results}
        names, stale = to_find(
            commands, known, wanted=self._wanted, found=found, foreign=self.foreign
        )
        for name in stale:
            self.results.pop(name, None)
        self._pending = names
        by_name |= {command.name: command for command in known if command.name in names}
        return {name: command for name, command in by_name.items() if name in names}

    def _ready(self, command: Command) -> bool:
        return not self._pending & set(command.after)

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

    def _start(self, command: Command) -> subprocess.Popen | None:
        """The running command; None if it cannot even be started."""
        try:
            words = [str(word) for word in command.words()]
            if command.folder is not None:
                self._make_folder(command.folder, self._wanted[command.name])
        except (OSError, ValueError, KeyError) as error:
            self._fail(command.name, f"not started: {type(error).__name__}: {error}")
            return None
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
                pass_fds=[self._lock],
            )

    def _make_folder(self, folder: Path, key: str) -> None:
        """Move aside what is there of another key: a command would go on with it."""
        if made_under(folder, key):
            return
        if folder.is_dir() and any(folder.iterdir()):
            old = folder.with_name(f"{folder.name}_until_{time.strftime('%Y%m%d_%H%M%S')}")
            folder.rename(old)
            self.tell(f"  {folder.name} was made from other settings or images: it is {old} now")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / KEY_FILE).write_text(key)

    def _end(self, command: Command, process: subprocess.Popen, seconds: float) -> None:
        if process.returncode:
            text = self.log(command.name).read_text(errors="replace")[-3000:].rstrip()
            if process.returncode < 0:
                name = signal.Signals(-process.returncode).name
                memory = "; out of memory?" if name == "SIGKILL" else ""
                text += f"\nkilled by {name}{memory}"
            self._fail(command.name, text or f"no output, exit status {process.returncode}")
            return
        try:
            found = command.read()
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            self._fail(command.name, f"no result: {type(error).__name__}: {error}")
            return
        if command.name not in self.results:  # else it is one that is always run
            self.results[command.name] = found | dict(seconds=round(seconds, 1))
            self._keys[command.name] = self._wanted[command.name]
            self.made_by[command.name] = self.code
        self._pending.discard(command.name)
        self.foreign.discard(command.name)
        told = ", ".join(f"{key} {value:.4g}" for key, value in found.items())
        self.tell(f"  {command.name}: {told or 'done'}, {seconds:.0f} s")
        self._write()

    def _fail(self, name: str, text: str) -> None:
        self.failed[name] = text
        log = self.log(name)
        where = f" (see {log})" if log.exists() else ""
        self.tell(f"  {name}: FAILED: {text.splitlines()[-1][:160]}{where}")

    def _write(self) -> None:
        keys = {name: self._keys[name] for name in self.results}
        made_by = {name: self.made_by.get(name, "") for name in self.results}
        foreign = sorted(self.foreign & self.results.keys())
        record = dict(results=self.results, keys=keys, made_by=made_by, foreign=foreign)
        write_text_atomically(self._record, json.dumps(record, indent=1))


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """SIGTERM ends the program as an exception does, so that what it started is ended, too."""

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end_all(processes: Sequence[subprocess.Popen]) -> None:
    """End processes: a training writes its checkpoint; who takes too long is killed."""
    for process in processes:
        process.terminate()
    latest = time.monotonic() + END_SECONDS
    for process in processes:
        try:
            process.wait(max(0.0, latest - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def last_line(log: Path, width: int) -> str:
    """What a running command printed last, cut and padded to `width`."""
    lines = log.read_text(errors="replace").replace("\r", "\n").split("\n")
    text = next((line for line in reversed(lines) if line.strip()), "")
    # of a log line the message alone, without rates: they would fill the width before the time that is left
    message = " ".join(text.rpartition(" - INFO - ")[2].split())
    message = re.sub(r"\b(base_)?lr: \S+ ", "", message)
    return message[:width].ljust(width)


def newest_checkpoint(folder: Path) -> Path:
    """The checkpoint that a run ended with; of a copied folder that in the copy.

    Raises:
        FileNotFoundError: There is none.
    """
    path = latest_checkpoint(folder)
    if path is None:
        raise FileNotFoundError(f"{folder} has no checkpoint.")
    return path


def last_scalars(
    folder: Path, factors: Mapping[str, float], *, absent: float | None = None
) -> dict[str, float]:
    """The last value of each metric in the newest log of a run, times a factor.

    Args:
        folder: Work folder of a run.
        factors: Factor by metric.
        absent: For a metric that was never logged: 0 for a detector, which gets no AP from the COCO
            evaluation if it finds no box at all.

    Raises:
        ValueError: A metric was never logged, and `absent` is None.
    """
    log = max(folder.glob("*/vis_data/scalars.json"), key=lambda path: path.stat().st_mtime)
    found: dict[str, float] = {}
    for line in log.read_text().splitlines():
        record = json.loads(line)
        found.update({name: record[name] * by for name, by in factors.items() if name in record})
    never = [name for name in factors if name not in found]
    if never and absent is None:
        raise ValueError(f"{log} has no {', '.join(never)}: nothing was validated.")
    return found | {name: absent for name in never if absent is not None}
