"""tools/*.sh: what they refuse before any process starts."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def run(script: str, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("NODE_RANK", "MASTER_ADDR")}
    return subprocess.run(
        ["bash", str(TOOLS / script), *words],
        env=environment | variables, capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("script", "words"),
    [("dist_train.sh", ["c.py", "2"]), ("dist_test.sh", ["c.py", "w.pth", "2"])],
)
@pytest.mark.parametrize("given", [{}, dict(NODE_RANK="1"), dict(MASTER_ADDR="node0")])
def test_raises_without_the_place_of_a_machine_among_several(script, words, given) -> None:
    """All would be machine 0 and wait for the others at their own address."""
    done = run(script, *words, NNODES="2", **given)
    assert done.returncode == 2
    assert "NNODES=2 NODE_RANK=0 MASTER_ADDR=node0" in done.stderr


@pytest.mark.parametrize("script", ["dist_train.sh", "dist_test.sh", "slurm_train.sh"])
def test_raises_and_shows_the_usage(script) -> None:
    done = run(script, "c.py")
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")


def test_values_words_reach_the_tool(tmp_path: Path) -> None:
    """Quoted words stay whole, whoever starts the processes."""
    python = tmp_path / "python"
    python.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@" "$MASTER_PORT"\n')
    python.chmod(0o755)
    option = "model.name=a b"
    place = dict(NNODES="2", NODE_RANK="1", MASTER_ADDR="node0", PORT="29507", PYTHON=str(python))
    lines = run("dist_train.sh", "c.py", "4", "--cfg-options", option, **place).stdout.splitlines()
    assert lines[:2] == ["-m", "torch.distributed.run"]
    assert {"--nnodes=2", "--node_rank=1", "--master_addr=node0", "--master_port=29507"} < {*lines}
    assert lines[lines.index("--nproc_per_node=4") + 2 : -1] == [
        "c.py", "--launcher", "pytorch", "--cfg-options", option,
    ]  # fmt: skip
