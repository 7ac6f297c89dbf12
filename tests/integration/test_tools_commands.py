"""Commands of the page of tools and of the recipes' READMEs, run as test_docs_commands.py runs the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.doc_pages import commands, run_page
from tests.integration.test_docs_commands import ELSEWHERE
from tests.unit.test_docs import HAS_FAMILIES, PAGES, name_of

pytestmark = [pytest.mark.integration, pytest.mark.slow]

RUN = [ELSEWHERE, *(page for page in PAGES if "configs" in page.parts and commands(page))]


@pytest.mark.skipif(not HAS_FAMILIES, reason="mmdet and mmseg are not installed")
@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_values_commands_of_a_page_run(page: Path, page_folder: Path, stand_ins: Path) -> None:
    run_page(page, page_folder, stand_ins)


def test_values_recipes_have_commands_that_run() -> None:
    assert len(RUN) >= 15
    assert len(commands(ELSEWHERE)) >= 40
