"""Docstrings of the house as Markdown: they nearly are, but for their sections and for links to names.

Code in backticks, lists, tables of bars, fences and formulas indented below a sentence mean the same in
both. `Args`, `Raises` and `Attributes` become lists, an `Example` becomes code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

SECTION = re.compile(
    r"(Args|Returns|Raises|Yields|Example|Examples|Attributes|Note|Shape):(?: (.*))?$"
)
TITLES = {"Args": "Arguments"}
ENTRY = re.compile(r"((?:\*{0,2}[\w.]+)(?:, \*{0,2}[\w.]+)*)(?: \([^)]*\))?: ?(.*)$")
LIST_ITEM = re.compile(r"([-*]|\d+\.) ")
CODE = re.compile(r"(``.+?``|`[^`]+`)", re.S)
NAME = re.compile(r"`([A-Za-z_][\w.]*)(?:\(\))?`")
Known = Callable[[str], bool]


def indent(line: str) -> int:
    """Number of leading spaces."""
    return len(line) - len(line.lstrip(" "))


def dedented(lines: list[str], by: int) -> list[str]:
    """Lines without so many leading spaces, or without those they have if these are fewer."""
    return [line[min(by, indent(line)) :] for line in lines]


def prose(text: str, known: Known) -> str:
    """Markdown of sentences: known names become links, what would be HTML or a link stays text."""
    parts = CODE.split(text)
    parts[::2] = [part.replace("<", "&lt;").replace("](", "]\\(") for part in parts[::2]]
    for number in range(1, len(parts), 2):
        name = NAME.fullmatch(parts[number])
        if name and known(name[1]):
            parts[number] = f"{{py:obj}}`{name[1]}`"
    return "".join(parts)


def blocks(lines: list[str]) -> list[list[str]]:
    """Runs of lines between empty ones; a fence is one run whatever is in it."""
    found: list[list[str]] = [[]]
    fenced = False
    for line in lines:
        fenced ^= line.lstrip().startswith("```")
        if line.strip() or fenced:
            found[-1].append(line.rstrip())
        elif found[-1]:
            found.append([])
    return [block for block in found if block]


def text_block(block: list[str], known: Known) -> Iterator[str]:
    """One run of lines outside of sections: code stays as it is, a list or code below a sentence parts."""
    first = block[0]
    if first.startswith(("    ", "```", "|", ">>>")):
        fence = first.startswith(">>>")
        yield from (["```pycon", *block, "```"] if fence else block)
        yield ""
        return
    for number, line in enumerate(block[1:], start=1):
        below_text = not LIST_ITEM.match(first) and (
            LIST_ITEM.match(line) or line.startswith(("    ", "|"))
        )
        if below_text:
            yield from text_block(block[:number], known)
            yield from text_block(block[number:], known)
            return
    yield from prose("\n".join(block), known).split("\n")
    yield ""


def entries(lines: list[str], known: Known) -> Iterator[str]:
    """A section of `name: meaning` as a list.

    Args:
        lines: Without the section's indentation.
        known: Whether a name has a place to link to.
    """
    for block in blocks(lines):
        text: list[str] = []
        for line in block:
            entry = ENTRY.match(line)
            if entry and indent(line) == 0:
                text.append(f"- `{entry[1]}`: {entry[2]}")
            elif indent(line) == 0:  # a sentence among the entries
                text.append(f"- {line}")
            else:
                text.append("  " + line[min(4, indent(line)) :])
        yield from prose("\n".join(text), known).split("\n")
        yield ""


def section_text(title: str, lines: list[str], known: Known) -> Iterator[str]:
    """One section with its title.

    Args:
        title: As in the docstring, without the colon.
        lines: Its lines.
        known: Whether a name has a place to link to.
    """
    lines = dedented(lines, 4)
    yield from (f"**{TITLES.get(title, title)}**", "")
    if title in ("Args", "Raises", "Attributes"):
        yield from entries(lines, known)
    else:
        for block in blocks(lines):
            yield from text_block(block, known)


def markdown(docstring: str, known: Known) -> str:
    """The Markdown of a docstring.

    Args:
        docstring: Cleaned, as `inspect.cleandoc` leaves it.
        known: Whether a name has a place to link to.

    Example:
        >>> print(markdown("Sum.\\n\\nArgs:\\n    a: First.\\n        Or not.", lambda name: False))
        Sum.
        <BLANKLINE>
        **Arguments**
        <BLANKLINE>
        - `a`: First.
          Or not.
    """
    parts: list[tuple[str, list[str]]] = [("", [])]
    for line in docstring.splitlines():
        title = SECTION.match(line)
        if title and not title[2]:
            parts.append((title[1], []))
        elif parts[-1][0] and line.strip() and indent(line) == 0:
            parts.append(("", [line]))  # text goes on behind a section
        else:
            parts[-1][1].append(line)
    made: list[str] = []
    for title_name, lines in parts:
        if title_name:
            made += section_text(title_name, lines, known)
        else:
            for block in blocks(lines):
                made += text_block(block, known)
    return "\n".join(made).strip()
