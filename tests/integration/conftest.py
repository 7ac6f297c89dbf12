"""Folders of the tests that run commands of the documentation: test_docs_commands, test_tools_commands."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where stand-ins of data are kept for the next page."""
    return tmp_path_factory.mktemp("stand_ins")


@pytest.fixture
def page_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder whose checkpoints do not stay behind."""
    yield tmp_path
    shutil.rmtree(tmp_path)
