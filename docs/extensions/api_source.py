"""What the API reference shows of a module, read from its source without importing it."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import NamedTuple

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Entry(NamedTuple):
    """A class, function or method that has a docstring.

    Attributes:
        kind: Directive of Sphinx's Python domain.
        name: Without module and class.
        signature: Arguments in brackets and the result, empty for a property.
        options: Lines of the directive such as `:classmethod:`.
        docstring: Cleaned.
        note: A sentence in front of it: bases, and the registry that holds a class.
        members: Of a class.
    """

    kind: str
    name: str
    signature: str
    options: list[str]
    docstring: str
    note: str
    members: list[Entry]


class Module(NamedTuple):
    """A module or package: its dotted name, docstring and public entries in the order of the file."""

    name: str
    docstring: str
    entries: list[Entry]


def decorators(node: Function | ast.ClassDef) -> list[str]:
    """Their source."""
    return [ast.unparse(each) for each in node.decorator_list]


def signature(function: Function, *, is_method: bool) -> str:
    """Arguments of a function, without those that Python fills in, and its result."""
    arguments = ast.arguments(**dict(ast.iter_fields(function.args)))
    bound = is_method and "staticmethod" not in decorators(function)
    if bound and arguments.posonlyargs:
        arguments.posonlyargs = arguments.posonlyargs[1:]
    elif bound:
        arguments.args = arguments.args[1:]
    result = f" -> {ast.unparse(function.returns)}" if function.returns else ""
    return f"({ast.unparse(arguments)}){result}"


def fields(node: ast.ClassDef) -> str:
    """Arguments of a dataclass or named tuple: its annotated names."""
    shown = []
    for each in node.body:
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            kind = ast.unparse(each.annotation)
            if each.target.id.startswith("_") or kind.startswith("ClassVar"):
                continue
            default = (
                f" = {ast.unparse(each.value)}"
                if each.value and "field(" not in ast.unparse(each.value)
                else ""
            )
            shown.append(f"{each.target.id}: {kind}{default}")
    keyword_only = any("kw_only=True" in each for each in decorators(node))
    return f"({', '.join((['*'] if keyword_only and shown else []) + shown)})"


def function_entry(node: Function, *, is_method: bool) -> Entry | None:
    """A function or method; `None` for private ones and those without a docstring."""
    docstring = ast.get_docstring(node)
    marks = decorators(node)
    if node.name.startswith("_") or not docstring or any("overload" in mark for mark in marks):
        return None
    if any("property" in mark for mark in marks):
        kind = [f":type: {ast.unparse(node.returns)}"] if node.returns else []
        return Entry("property", node.name, "", kind, docstring, "", [])
    options = [f":{mark}:" for mark in ("classmethod", "staticmethod") if mark in marks]
    kind_name = "method" if is_method else "function"
    text = signature(node, is_method=is_method)
    return Entry(kind_name, node.name, text, options, docstring, "", [])


def class_entry(node: ast.ClassDef) -> Entry | None:
    """A class with its public methods; `None` for private ones and those without a docstring."""
    docstring = ast.get_docstring(node)
    if node.name.startswith("_") or not docstring:
        return None
    bases = [ast.unparse(base) for base in node.bases]
    functions = [each for each in node.body if isinstance(each, Function)]
    constructor = next((each for each in functions if each.name == "__init__"), None)
    text = ""
    if constructor is not None:
        text = signature(constructor, is_method=True).partition(" -> None")[0]
    elif "NamedTuple" in bases or any("dataclass" in each for each in decorators(node)):
        text = fields(node)
    notes = [f"Derived from {', '.join(f'`{base}`' for base in bases)}."] if bases else []
    for mark in decorators(node):
        if ".register_module" in mark:
            name = mark.partition("name=")[2].partition(")")[0].strip("'\"") or node.name
            notes.append(f"In configs: `type='{name}'` (registry `{mark.partition('.')[0]}`).")
    found = [function_entry(each, is_method=True) for each in functions]
    members = [each for each in found if each is not None]
    return Entry("class", node.name, text, [], docstring, " ".join(notes), members)


def read_module(path: Path, name: str) -> Module:
    """Read one file.

    Args:
        path: The file.
        name: The module's dotted name.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: list[Entry | None] = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            found.append(class_entry(node))
        elif isinstance(node, Function):
            found.append(function_entry(node, is_method=False))
    docstring = inspect.cleandoc(ast.get_docstring(tree) or "")
    return Module(name, docstring, [each for each in found if each is not None])
