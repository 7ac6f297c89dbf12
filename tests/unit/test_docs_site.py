"""The documentation site: it builds without a warning, its links lead somewhere, its figures are drawn."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
MISSING = [
    name for name in ("sphinx", "myst_parser", "furo") if importlib.util.find_spec(name) is None
]


def load(path: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A script of the checkout as a module, with its neighbours importable."""
    monkeypatch.syspath_prepend(str((ROOT / path).parent))
    name = f"site_test_{Path(path).stem}"
    spec = importlib.util.spec_from_file_location(name, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


needs_sphinx = pytest.mark.skipif(
    bool(MISSING), reason=f"the site needs {MISSING}: make install EXTRAS=docs"
)


def build(site: Path, *options: str) -> None:
    """Build the site as `make docs` does; a warning is an error."""
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-c",
        "docs",
        "-b",
        "html",
        "-W",
        "--keep-going",
        "-q",
    ]
    built = subprocess.run(
        [*command, *options, ".", site], cwd=ROOT, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    assert not built.stderr.strip()


@needs_sphinx
def test_values_pages_have_no_fault(tmp_path, monkeypatch):
    """No warning, no broken link or anchor, every page reachable, nothing loaded from elsewhere."""
    build(tmp_path / "site", "-t", "without_reference")
    assert load("tools/checks/site.py", monkeypatch).problems(tmp_path / "site") == []
    for readme in (ROOT / "configs").glob("*/README.md"):
        assert (tmp_path / "site" / readme.relative_to(ROOT).with_suffix(".html")).is_file()


@needs_sphinx
@pytest.mark.slow
def test_values_site_with_reference_has_no_fault(tmp_path, monkeypatch):
    build(tmp_path / "site")
    assert load("tools/checks/site.py", monkeypatch).problems(tmp_path / "site") == []
    reference = (tmp_path / "site/docs/api/mmssl.losses.html").read_text(encoding="utf-8")
    assert 'id="mmssl.losses.contrastive.info_nce"' in reference
    assert "log(1 + K)" in reference


def test_values_checker_names_every_fault(tmp_path, monkeypatch):
    checker = load("tools/checks/site.py", monkeypatch)
    (tmp_path / "index.html").write_text(
        '<a href="a.html#there">a</a><a href="a.html#gone">b</a><a href="gone.html">c</a>'
        '<a href="https://example.org/x">d</a><img src="https://example.org/y.png">'
    )
    (tmp_path / "a.html").write_text('<p id="there"><a href="index.html">back</a></p>')
    (tmp_path / "lost.html").write_text("<p>nobody comes here</p>")
    assert checker.problems(tmp_path) == [
        "index.html loads https://example.org/y.png from elsewhere",
        "index.html leads to a.html#gone, where nothing has this anchor",
        "index.html leads to gone.html, which does not exist",
        "lost.html is reached by no link",
    ]


def test_raises_checker_without_a_site(tmp_path, monkeypatch):
    checker = load("tools/checks/site.py", monkeypatch)
    with pytest.raises(FileNotFoundError, match="make docs"):
        checker.problems(tmp_path)


def test_values_figures_are_those_of_their_descriptions(monkeypatch):
    """After a change of `docs/figures`: python docs/figures/draw.py."""
    drawn = load("docs/figures/draw.py", monkeypatch).figures()
    for path, text in drawn.items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is not drawn anew"
    assert set((ROOT / "docs/images/methods").iterdir()) < set(drawn)


def test_values_every_method_shows_its_figure():
    readmes = list((ROOT / "configs").glob("*/README.md"))
    for readme in readmes:
        name = readme.parent.name
        if name != "benchmarks":  # protocols, not a method
            shown = f"](../../docs/images/methods/{name}.svg)"
            assert shown in readme.read_text(encoding="utf-8"), f"{readme} shows no figure"
    assert len(readmes) > 20


def test_raises_figure_with_a_slip(monkeypatch):
    draw = load("docs/figures/draw.py", monkeypatch)
    with pytest.raises(ValueError, match="put it in brackets"):
        draw.parse("(view) > backbone")
    with pytest.raises(ValueError, match="stands in columns 1 and 2"):
        draw.parse("(view) > [a]\n(view) > * > [a]")


def test_values_docstrings_become_markdown(monkeypatch):
    text = load("docs/extensions/docstring_text.py", monkeypatch)
    docstring = (
        "Sum of `Rows` and `x`; a<b.\n\n    y = a * b\n\nMore:\n- one\n- two\n\n"
        "Args:\n    a: First,\n        of (B, <= 3).\n    b, *c: Others.\n\n"
        "Returns:\n    All.\n\nExample:\n    >>> 1 < 2\n    True"
    )
    assert text.markdown(docstring, {"Rows"}.__contains__) == (
        "Sum of {py:obj}`Rows` and `x`; a&lt;b.\n\n    y = a * b\n\nMore:\n\n- one\n- two\n\n"
        "**Arguments**\n\n- `a`: First,\n  of (B, &lt;= 3).\n- `b, *c`: Others.\n\n"
        "**Returns**\n\nAll.\n\n**Example**\n\n```pycon\n>>> 1 < 2\nTrue\n```"
    )


def test_values_signatures_come_from_the_source(tmp_path, monkeypatch):
    source = load("docs/extensions/api_source.py", monkeypatch)
    (tmp_path / "shown.py").write_text(
        '"""Module."""\nfrom dataclasses import dataclass\n\n'
        "@MODELS.register_module()\nclass Net(Base):\n"
        '    """A net."""\n    def __init__(self, x: int, *, y=None) -> None: ...\n'
        '    @property\n    def width(self) -> int:\n        """Its width."""\n'
        '    @classmethod\n    def make(cls, z):\n        """Made."""\n'
        '    def _hidden(self):\n        """Private."""\n\n'
        '@dataclass(kw_only=True)\nclass Row:\n    """A row."""\n    a: int\n    b: str = "c"\n\n'
        "def bare(): ...\n"
    )
    net, row = source.read_module(tmp_path / "shown.py", "shown").entries
    assert (net.kind, net.signature) == ("class", "(x: int, *, y=None)")
    assert net.note == "Derived from `Base`. In configs: `type='Net'` (registry `MODELS`)."
    assert [(m.kind, m.name, m.signature, m.options) for m in net.members] == [
        ("property", "width", "", [":type: int"]),
        ("method", "make", "(z)", [":classmethod:"]),
    ]
    assert row.signature == "(*, a: int, b: str = 'c')"
