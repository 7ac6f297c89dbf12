"""The API reference: a page per package, written before Sphinx reads, from the source alone.

Nothing is imported, so the site builds in seconds and also where torch or the mm family is not installed.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from api_source import Entry, Module, read_module
from docstring_text import Known, markdown
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

PACKAGE = "mmssl"
FOLDER = "docs/api"


def read_packages(root: Path) -> dict[str, list[Module]]:
    """Every package under `mmssl`: itself first, then its public modules.

    Args:
        root: The checkout.
    """
    found = {}
    for init in sorted((root / PACKAGE).rglob("__init__.py")):
        parts = init.parent.relative_to(root).parts
        if any(part.startswith(".") for part in parts):
            continue
        name = ".".join(parts)
        modules = sorted(path for path in init.parent.glob("*.py") if path.stem[0] != "_")
        found[name] = [read_module(init, name)]
        found[name] += [read_module(path, f"{name}.{path.stem}") for path in modules]
    return found


def full_names(packages: dict[str, list[Module]]) -> dict[str, str]:
    """Where a class or function is, by its own name, by the public module's and by the whole one.

    Names that two of them have are left out: they would lead to either.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for modules in packages.values():
        for module in modules:
            for entry in module.entries:
                whole = f"{module.name}.{entry.name}"
                found[entry.name].add(whole)
                found[whole].add(whole)
                # As users import it: `mmssl.ops.nearest` of `mmssl.ops.kmeans.nearest`.
                found[f"{modules[0].name}.{entry.name}"].add(whole)
    return {name: places.pop() for name, places in found.items() if len(places) == 1}


def described(entry: Entry, known: Known, fence: int) -> list[str]:
    """A directive for a class, function or method, and inside it those for its members."""
    ticks = "`" * fence
    lines = [f"{ticks}{{py:{entry.kind}}} {entry.name}{entry.signature}", *entry.options, ""]
    if entry.note:
        lines += [markdown(entry.note, known), ""]
    lines += [markdown(entry.docstring, lambda name: name != entry.name and known(name)), ""]
    for member in entry.members:
        lines += described(member, known, fence - 1)
    return [*lines, ticks, ""]


def page(modules: list[Module], children: list[str], known: Known) -> str:
    """The Markdown of one package.

    Args:
        modules: The package and its modules.
        children: The packages directly inside it.
        known: Whether a name has a place to link to.
    """
    package = modules[0]
    lines = [f"# {package.name}", "", markdown(package.docstring, known), ""]
    if children:
        lines += ["```{toctree}", ":maxdepth: 1", ":titlesonly:", "", *children, "```", ""]
    for module in modules:
        if module is not package:
            lines += [f"## {module.name}", ""]
        lines += ["```{py:module} " + module.name, "```", ""]
        if module is not package:
            lines += [markdown(module.docstring, known), ""]
        for entry in module.entries:
            lines += described(entry, known, 6)
    return "\n".join(lines)


class Reference:
    """The pages, and the links to them from text and from signatures."""

    def __init__(self) -> None:
        self.places: dict[str, str] = {}

    def known(self, name: str) -> bool:
        """Whether a name in backticks becomes a link."""
        # A single small word is more often an argument than the function of this name.
        return name in self.places and ("_" in name or "." in name or not name.islower())

    def write(self, app: Sphinx) -> None:
        """Bring the folder to what the packages are now; files that would not change keep their time."""
        folder = Path(app.srcdir) / FOLDER
        folder.mkdir(exist_ok=True)
        packages = read_packages(Path(app.srcdir))
        self.places = full_names(packages)
        for name, modules in packages.items():
            children = [other for other in packages if other.rpartition(".")[0] == name]
            path, text = folder / f"{name}.md", page(modules, children, self.known)
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                path.write_text(text, encoding="utf-8")
        for path in folder.glob("*.md"):
            if path.stem not in packages:
                path.unlink()

    def resolve(self, app: Sphinx, doctree: nodes.document) -> None:
        """Give links their whole names at once; Sphinx would compare each with every name there is.

        Types of torch, mmengine and Python have no page here and become plain text. A whole name of
        ours that leads nowhere is left to Sphinx, which warns.
        """
        for node in list(doctree.findall(pending_xref)):
            target = node.get("reftarget", "")
            if node.get("refdomain") != "py":
                continue
            if target in self.places:
                node["reftarget"] = self.places[target]
                node["refspecific"] = False
            elif not target.startswith(f"{PACKAGE}."):
                node.replace_self(node.children)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    reference = Reference()
    app.connect("builder-inited", reference.write, priority=100)
    app.connect("doctree-read", reference.resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
