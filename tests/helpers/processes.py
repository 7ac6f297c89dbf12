"""Starting the tools as a user does, and watching what they print."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOY = ROOT / "tests/data/configs/toy.py"


def start(
    *command: str | Path, log: Path, path: tuple[Path, ...] = (ROOT,), threads: int = 1
) -> subprocess.Popen:
    """Start a command in the checkout, in a process group of its own.

    Args:
        command: Words of the command.
        log: Where its output goes.
        path: What Python can import from.
        threads: Of torch.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "OMP_NUM_THREADS": str(threads),
        "CUDA_VISIBLE_DEVICES": "",
    }
    with open(log, "w") as file:
        return subprocess.Popen(
            [str(part) for part in command],
            cwd=ROOT,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def train(*arguments: str | Path, **options) -> subprocess.Popen:
    """Start `tools/train.py` with the given arguments; options as those of `start`."""
    return start(sys.executable, "tools/train.py", *arguments, **options)


def wait_for(text: str, log: Path, process: subprocess.Popen, seconds: float = 240) -> str:
    """Wait until `text` stands in `log`; the log.

    Raises:
        AssertionError: The process ended, or the time is up, before the text appeared.
    """
    deadline = time.monotonic() + seconds
    while text not in (content := log.read_text()):
        assert process.poll() is None, f"ended with {process.returncode}:\n{content[-3000:]}"
        assert time.monotonic() < deadline, f"{text!r} did not appear in:\n{content[-3000:]}"
        time.sleep(0.05)
    return content
