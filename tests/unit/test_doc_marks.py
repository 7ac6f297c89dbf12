"""Marks of documented commands: which lines a test has to run, and excuses that are refused."""

from __future__ import annotations

import pytest

from tests.helpers.doc_marks import runnable_lines

LINES = [
    "python tools/test.py CONFIG CHECKPOINT --knn",
    "python tools/test.py CONFIG CHECKPOINT --knn --device cuda",
    "tools/dist_train.sh CONFIG 8",
]


def test_values_lines_that_run() -> None:
    assert runnable_lines("run", LINES) == LINES
    note = "run, but --device cuda needs: a GPU; dist_train needs: eight GPUs"
    assert runnable_lines(note, LINES) == LINES[:1]
    assert runnable_lines("needs: eight GPUs", LINES[2:]) == []


@pytest.mark.parametrize(
    ("note", "words"),
    [
        ("", "put <!-- run -->"),
        ("needs a GPU", "put <!-- run -->"),
        ("needs: a checkpoint", "'a checkpoint' is none of what is not here"),
        ("needs: eight GPUs, a checkpoint", "this line does not need eight GPUs: python"),
        (
            "needs: a GPU",
            "this line does not need a GPU: python tools/test.py CONFIG CHECKPOINT --knn$",
        ),
        ("run, but --knn needs: a GPU", "does not need a GPU"),
        ("run, but dist_train", "not of the form"),
        ("run, but --svm needs: a GPU", "leaves out '--svm', which stands in no line"),
    ],
)
def test_raises_excuses(note: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        runnable_lines(note, LINES)
