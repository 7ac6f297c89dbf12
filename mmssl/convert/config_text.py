"""Reading the config that a checkpoint carries, without executing it."""

from __future__ import annotations

import ast
from typing import Any


def _value(node: ast.expr) -> Any:
    """A literal, or a call of `dict` with keyword arguments, anywhere inside containers."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        # keys that are no identifiers are written as dict({'a.b': 1})
        start = [_value(item) for item in node.args]
        if len(start) > 1 or not all(isinstance(item, dict) for item in start):
            raise ValueError("dict(...) takes one dictionary and keyword arguments")
        if any(word.arg is None for word in node.keywords):
            raise ValueError("** is not a plain value")
        return {**dict(*start), **{str(word.arg): _value(word.value) for word in node.keywords}}
    if isinstance(node, ast.Dict):
        if any(key is None for key in node.keys):
            raise ValueError("** is not a plain value")
        return {
            _value(key): _value(value)
            for key, value in zip(node.keys, node.values, strict=True)
            if key is not None
        }
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        kind = {ast.List: list, ast.Tuple: tuple, ast.Set: set}[type(node)]
        return kind(_value(item) for item in node.elts)
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(f"{ast.unparse(node)[:80]!r} is not a plain value") from None


def read_config_text(text: str) -> dict[str, Any]:
    """The variables of a resolved config as mmengine's `Config.pretty_text` writes it.

    `Config.fromstring` would execute the text: a checkpoint is data and must not run code. Resolved
    configs consist of assignments of plain values, so nothing is lost.

    Args:
        text: Python source, one assignment of literals and `dict(...)` per variable.

    Raises:
        ValueError: The text is no Python or holds more than plain assignments; names the line.

    Example:
        >>> read_config_text("model = dict(type='BYOL', hidden=[4, -1])")
        {'model': {'type': 'BYOL', 'hidden': [4, -1]}}
    """
    try:
        body = ast.parse(text).body
    except SyntaxError as error:
        raise ValueError(f"The config is no Python source: {error}.") from error
    values: dict[str, Any] = {}
    for line in body:
        plain = isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)
        if plain:  # a docstring
            continue
        if not (
            isinstance(line, ast.Assign)
            and len(line.targets) == 1
            and isinstance(line.targets[0], ast.Name)
        ):
            raise ValueError(
                f"Line {line.lineno} of the config is not an assignment of a plain value: "
                f"{ast.unparse(line)[:80]!r}. A resolved config (the one a run saves) is expected."
            )
        try:
            values[line.targets[0].id] = _value(line.value)
        except ValueError as error:
            raise ValueError(f"Line {line.lineno} of the config: {error}.") from error
    return values
