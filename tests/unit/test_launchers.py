"""tools/*.sh: what they refuse before any process starts."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def launched(
    script: str, *arguments: str, **variables: str
) -> tuple[subprocess.CompletedProcess, list[str]]:
    """Run a launch script with stand-ins that print their arguments, one a line."""
    folder = Path(variables.pop("folder"))
    for name in ("python", "srun"):
        stand_in = folder / name
        stand_in.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\necho "$MASTER_PORT" >&2\n')
        stand_in.chmod(0o755)
    clean = {
        k: v
        for k, v in os.environ.items()
        if k not in ("PORT", "NNODES", "NODE_RANK", "MASTER_ADDR")
    }
    variables = {
        **clean,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PYTHON": str(folder / "python"),
        **variables,
    }
    command = ["bash", str(ROOT / "tools" / script), *arguments]
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    return done, done.stdout.splitlines()


@pytest.mark.parametrize(
    ("script", "words"),
    [("dist_train.sh", ["c.py", "2"]), ("dist_test.sh", ["c.py", "w.pth", "2"])],
)
@pytest.mark.parametrize("given", [{}, dict(NODE_RANK="1"), dict(MASTER_ADDR="node0")])
def test_raises_without_the_place_of_a_machine_among_several(
    script, words, given, tmp_path: Path
) -> None:
    """All would be machine 0 and wait for the others at their own address."""
    done, _ = launched(script, *words, folder=str(tmp_path), NNODES="2", **given)
    assert done.returncode == 2
    assert "NNODES=2 NODE_RANK=0 MASTER_ADDR=node0" in done.stderr


@pytest.mark.parametrize("script", ["dist_train.sh", "dist_test.sh", "slurm_train.sh"])
def test_raises_and_shows_the_usage(script, tmp_path: Path) -> None:
    done, _ = launched(script, "c.py", folder=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")


def test_values_dist_train(tmp_path: Path) -> None:
    done, words = launched(
        "dist_train.sh",
        "my config.py",
        "2",
        "--amp",
        folder=str(tmp_path),
        NNODES="3",
        NODE_RANK="1",
        MASTER_ADDR="node0",
        PORT="77",
    )
    assert done.returncode == 0
    assert words == [
        "-m", "torch.distributed.run", "--nnodes=3", "--node_rank=1", "--master_addr=node0",
        "--master_port=77", "--nproc_per_node=2", f"{ROOT}/tools/train.py", "my config.py",
        "--launcher", "pytorch", "--amp",
    ]  # fmt: skip


def test_values_dist_test(tmp_path: Path) -> None:
    done, words = launched("dist_test.sh", "config.py", "last.pth", "2", folder=str(tmp_path))
    assert done.returncode == 0
    assert words[2:] == [
        "--nnodes=1", "--node_rank=0", "--master_addr=127.0.0.1", "--master_port=29500",
        "--nproc_per_node=2", f"{ROOT}/tools/test.py", "config.py", "last.pth", "--launcher", "pytorch",
    ]  # fmt: skip


def test_values_slurm_train(tmp_path: Path) -> None:
    done, words = launched(
        "slurm_train.sh", "part", "job", "config.py", "work dir", "--resume",
        folder=str(tmp_path), GPUS="4", PORT="29507", SRUN_ARGS="--time 1:00 --exclusive",
    )  # fmt: skip
    assert done.returncode == 0 and done.stderr == "29507\n"
    assert words == [
        "-p", "part", "--job-name=job", "--gres=gpu:4", "--ntasks=4", "--ntasks-per-node=4",
        "--cpus-per-task=5", "--kill-on-bad-exit=1", "--time", "1:00", "--exclusive",
        str(tmp_path / "python"), "-u", f"{ROOT}/tools/train.py", "config.py", "--work-dir", "work dir",
        "--launcher", "slurm", "--resume",
    ]  # fmt: skip
