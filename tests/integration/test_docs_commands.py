"""Commands of the documentation, run as they stand; what is long is made small by options added to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.doc_pages import commands, run_page
from tests.unit.test_docs import HAS_FAMILIES, PAGES, ROOT, name_of

pytestmark = [pytest.mark.integration, pytest.mark.slow]

ELSEWHERE = ROOT / "docs/tools.md"  # test_tools_commands.py, in another process
RUN = [
    page for page in PAGES if page != ELSEWHERE and "configs" not in page.parts and commands(page)
]


@pytest.mark.skipif(not HAS_FAMILIES, reason="mmdet and mmseg are not installed")
@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_values_commands_of_a_page_run(page: Path, page_folder: Path, stand_ins: Path) -> None:
    run_page(page, page_folder, stand_ins)


def test_values_most_pages_have_commands_that_run() -> None:
    assert len(RUN) >= 10
    assert sum(len(commands(page)) for page in RUN) >= 50
