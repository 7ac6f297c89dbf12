"""Marks in front of blocks of commands: which of their lines run in a test, and why others cannot.

<!-- run -->                             all lines
<!-- needs: two machines, eight GPUs -->  no line
<!-- run, but WORDS needs: a GPU -->     all but those with WORDS in them; several such parts: ";"
"""

from __future__ import annotations

import re

ABSENT = {
    "a GPU": r"--device cuda|--setup advanced",
    "four GPUs": r"dist_train\.sh\s+\S+ 4\b",
    "eight GPUs": r"dist_(train|test)\.sh\s+\S+ (CHECKPOINT )?8\b",
    "two machines": r"NNODES=2 .*MASTER_ADDR=",
    "a cluster with Slurm": r"slurm_train\.sh",
    "an empty environment": r"^make |setup_env\.py",
    "minutes of compilation": r"--compile\b",
    "hours": r"^make (demo|claims)|demo\.py|compare\.py --methods",
    "BYOL's released file": r"convert_checkpoint\.py pretrain_res50x1\.pkl",
    "a file of mmpretrain": r"convert_checkpoint\.py byol_resnet50_16xb256-coslr-200e_in1k\.pth",
}
"""What is not here, and how a command looks that needs it. What a test can draw or fill in is here."""


def _left_out(note: str) -> list[tuple[str, list[str]]]:
    """(words of a line, what such a line needs) of a mark; the words of a whole block are empty."""
    if note.startswith("needs: "):
        return [("", note.removeprefix("needs: ").split(", "))]
    exceptions = re.fullmatch(r"run, but (.+)", note)
    if not exceptions:
        return []
    clauses = [clause.split(" needs: ") for clause in exceptions[1].split("; ")]
    if not all(len(clause) == 2 for clause in clauses):
        raise ValueError(f"{note!r} is not of the form 'run, but WORDS needs: THING; ...'")
    return [(words, things.split(", ")) for words, things in clauses]


def runnable_lines(note: str, lines: list[str]) -> list[str]:
    """Commands of a block that a test has to run.

    Args:
        note: The mark in front of the block, without the signs of a comment.
        lines: The commands.

    Raises:
        ValueError: There is no mark; it names something that is not in `ABSENT`; a line that it
            leaves out does not look like one that needs all of this; it leaves out no line.
    """
    if note != "run" and not note.startswith(("run, but ", "needs: ")):
        raise ValueError("put <!-- run --> or <!-- needs: what is not here --> in front of it")
    left: set[str] = set()
    for words, things in _left_out(note):
        without = [line for line in lines if words in line]
        if not without:
            raise ValueError(f"the mark leaves out {words!r}, which stands in no line")
        for thing in things:
            if thing not in ABSENT:
                raise ValueError(f"{thing!r} is none of what is not here: {', '.join(ABSENT)}")
            strange = [line for line in without if not re.search(ABSENT[thing], line)]
            if strange:
                raise ValueError(f"this line does not need {thing}: {strange[0]}")
        left |= set(without)
    return [line for line in lines if line not in left]
