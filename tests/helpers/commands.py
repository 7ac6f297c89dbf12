"""Commands of the documentation as processes that need not import torch and its company again."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Neither our modules nor mmdet and mmseg: that a tool imports them where it needs them is tested, too.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        *("torch", "torch._dynamo", "torch.utils.tensorboard", "torchvision", "timm"),
        *("cv2", "matplotlib.pyplot", "scipy.optimize", "sklearn.svm", "pycocotools.cocoeval"),
        *("mmengine.runner", "mmcv.ops"),
    ]
)


def _become(
    words: list[str], folder: str, variables: dict[str, str], log: str, start_method: str
) -> None:
    """Turn this forked process into `python WORDS` in a folder, writing to a file."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    # of the workers of loaders, which a process of a fork server would start in its own way
    multiprocessing.set_start_method(start_method, force=True)
    os.chdir(folder)
    os.environ.update(variables)
    given = variables["PYTHONPATH"].split(os.pathsep)
    sys.path[:] = [
        str(Path(folder, words[0]).resolve().parent),
        *(str(Path(folder, entry)) for entry in given),
        *(entry for entry in sys.path if entry not in ("", str(ROOT))),
    ]
    sys.argv = list(words)
    runpy.run_path(words[0], run_name="__main__")


def run_command(line: str | list[str], folder: Path) -> tuple[int, str]:
    """Run one command in a folder, without a GPU and without a network.

    Args:
        line: The command, or its words: variables in front, then `python TOOL` or a script.
        folder: Where it runs.

    Returns:
        Its exit status and all that it wrote.
    """
    words = shlex.split(line) if isinstance(line, str) else list(line)
    variables = dict(PYTHONPATH=str(ROOT), CUDA_VISIBLE_DEVICES="", TORCH_HOME=str(folder))
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        variables[name] = f"{value}{os.pathsep}{ROOT}" if name == "PYTHONPATH" else value
    log = folder / "command.log"
    log.unlink(missing_ok=True)
    if words[0] == "python":
        given = (words[1:], str(folder), variables, str(log), multiprocessing.get_start_method())
        process = _FORKS.Process(target=_become, args=given, daemon=False)
        process.start()
        process.join()
        return process.exitcode, log.read_text(errors="replace")
    with open(log, "w") as file:
        done = subprocess.run(
            words, cwd=folder, env=os.environ | variables, stdout=file, stderr=subprocess.STDOUT
        )
    return done.returncode, log.read_text(errors="replace")
