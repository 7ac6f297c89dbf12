"""The documentation site: every page of `docs/` and the READMEs beside what they are about.

Sphinx reads the checkout itself (`make docs`), so a page stands where its subject does, links are those
that a reader of the repository follows too, and nothing is typed twice. Pages of the API reference are
written by `extensions/api_pages.py` before reading. Nothing is fetched, neither by the build nor by a page.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs" / "extensions"))

project = "mmssl"
copyright = "mmssl contributors"
release = re.search(r'^__version__ = "(.+)"$', (ROOT / "mmssl/__init__.py").read_text(), re.M)[1]

extensions = ["myst_parser", "api_pages"]
root_doc = "docs/index"
include_patterns = [
    "docs/*.md",
    "docs/*/*.md",
    "configs/*/README.md",
    "mmssl/datasets/shapes/README.md",
    "tests/plugin/README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
]
exclude_patterns = [".venv", "build", "data", "work_dirs", "mmssl/.mim", "**/.*"]
if tags.has("without_reference"):  # noqa: F821 (Sphinx puts it here): a third of the time
    exclude_patterns.append("docs/api")
    suppress_warnings = ["toc.excluded", "toc.not_readable"]

myst_heading_anchors = 4
myst_links_external_new_tab = False

html_theme = "furo"
html_title = f"mmssl {release}"
html_extra_path = ["front"]
html_show_sourcelink = False
html_copy_source = False

python_maximum_signature_line_length = 90
add_module_names = False
toc_object_entries = False
nitpicky = True
