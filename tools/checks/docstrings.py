"""Compare docstrings with signatures: `python tools/checks/docstrings.py mmssl`.

Reported are: a public module, class, function or method without a docstring; a section `Args` whose names or
order differ from the signature; a type in such an entry (types are in the signature only); a first line that
does not end a sentence. Hook points and other methods that mmengine or torch define need no docstring.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from pathlib import Path

SECTIONS = (
    "Args",
    "Returns",
    "Raises",
    "Yields",
    "Example",
    "Examples",
    "Attributes",
    "Note",
    "Shape",
)
# Their meaning is the base class's.
INHERITED = re.compile(
    r"(before|after)_\w+|forward|train|init_weights|extra_repr|state_dict|load_state_dict|step|run|loss|"
    r"process|compute_metrics|get_value|transform|set_epoch|predict|extract_feat|add_params|close"
)
ENTRY = re.compile(r"(\*{0,2}\w+)( \([^)]*\))?:")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def section(docstring: str, title: str) -> list[str]:
    """The lines of one Google-style section, without its indentation.

    Example:
        >>> section("Sum.\\n\\nArgs:\\n    a: First.\\n\\nReturns:\\n    It.", "Args")
        ['a: First.']
    """
    lines = docstring.splitlines()
    if f"{title}:" not in lines:
        return []
    found = []
    for line in lines[lines.index(f"{title}:") + 1 :]:
        if line and not line.startswith(" "):
            break
        found.append(line[4:])
    while found and not found[-1]:
        found.pop()
    return found


def parameters(function: Function) -> list[str]:
    """Names of a signature in order, without `self` and `cls`; stars are kept.

    Example:
        >>> parameters(ast.parse("def f(self, a, *, b=1, **c): ...").body[0])
        ['a', 'b', '**c']
    """
    arguments = function.args
    names = [each.arg for each in (*arguments.posonlyargs, *arguments.args)]
    if names and names[0] in ("self", "cls"):
        names = names[1:]
    if arguments.vararg:
        names.append(f"*{arguments.vararg.arg}")
    names += [each.arg for each in arguments.kwonlyargs]
    if arguments.kwarg:
        names.append(f"**{arguments.kwarg.arg}")
    return names


def documented(docstring: str) -> tuple[list[str], list[str]]:
    """Names in the section `Args`, and those among them that carry a type.

    Example:
        >>> documented("Sum.\\n\\nArgs:\\n    a: First.\\n    b, c (int): Others.")
        (['a', 'b', 'c'], ['c'])
    """
    names: list[str] = []
    typed: list[str] = []
    for line in section(docstring, "Args"):
        if line.startswith(" ") or not line:
            continue
        *before, last = line.split(", ", line.partition(":")[0].count(", "))
        found = ENTRY.match(last)
        if found:
            names += [*before, found.group(1)]
            typed += [found.group(1)] if found.group(2) else []
    return names, typed


def faults_of_docstring(docstring: str, names: list[str] | None) -> list[str]:
    """What is wrong with a docstring that belongs to the parameters `names` (`None`: to none)."""
    faults = []
    first = docstring.strip().splitlines()[0] if docstring.strip() else ""
    paragraph = docstring.strip().partition("\n\n")[0]
    if not paragraph.rstrip().endswith((".", ":", "?", "!")) or not first:
        faults.append("its first paragraph does not end with a full stop")
    listed, typed = documented(docstring)
    faults += [f"Args repeats the type of {name!r}" for name in typed]
    bare = [name.lstrip("*") for name in names or []]
    if names is not None and listed and [name.lstrip("*") for name in listed] != bare:
        faults.append(f"Args has {listed}, the signature {names}")
    return faults


def check(path: Path) -> list[str]:
    """The faults of one file, each with its line."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: list[tuple[int, str]] = []
    if ast.get_docstring(tree) is None and path.name != "__init__.py":
        found.append((1, "the module has no docstring"))

    def visit(node: ast.AST, inside_class: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.ClassDef | Function) or child.name.startswith("_"):
                continue
            docstring = ast.get_docstring(child)
            is_class = isinstance(child, ast.ClassDef)
            if docstring is None:
                if not (inside_class and INHERITED.fullmatch(child.name)):
                    found.append((child.lineno, f"{child.name} has no docstring"))
            else:
                faults = faults_of_docstring(docstring, signature(child))
                found.extend((child.lineno, f"{child.name}: {fault}") for fault in faults)
            if is_class:
                visit(child, inside_class=True)

    visit(tree, inside_class=False)
    return [f"{path}:{line}: {fault}" for line, fault in found]


def signature(node: ast.ClassDef | Function) -> list[str] | None:
    """Parameters of a function, or of the constructor or the fields of a class; `None` if unknown."""
    if isinstance(node, Function):
        return parameters(node)
    for child in node.body:
        if isinstance(child, ast.FunctionDef) and child.name == "__init__":
            return parameters(child)
    decorators = [getattr(each, "func", each) for each in node.decorator_list]
    bases = [*node.bases, *decorators]
    if any(getattr(each, "id", "") in ("NamedTuple", "dataclass") for each in bases):
        fields = [child for child in node.body if isinstance(child, ast.AnnAssign)]
        names = [child.target.id for child in fields if isinstance(child.target, ast.Name)]
        return [name for name in names if not name.startswith("_")]
    return None


def main() -> None:
    """Check the files below the given folders; the status is 1 if there are faults."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folders", nargs="+", type=Path)
    paths = [
        path for folder in parser.parse_args().folders for path in sorted(folder.rglob("*.py"))
    ]
    paths = [path for path in paths if not any(part.startswith(".") for part in path.parts)]
    faults = [fault for path in paths for fault in check(path)]
    print("\n".join([*faults, f"{len(paths)} files, {len(faults)} faults"]))
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
