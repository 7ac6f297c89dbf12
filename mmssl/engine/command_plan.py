"""Commands that depend on each other, and which of them have to run when some have results already."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

KEY_FILE = "made_from.txt"
"""In the folder of a command: the key under which it works there."""


@dataclass(frozen=True)
class Command:
    """A Python program with its arguments.

    Attributes:
        name: Of the command, its output file and its result.
        words: Returns the words behind `python`, once everything in `after` has ended: they may name files
            that were not there before.
        read: Finds the figures once the command has ended.
        after: Names of commands that have to end before.
        key: What the result depends on, beside what comes before. A result that was found under another key
            is found anew.
        folder: Where the command goes on with what it finds. What is there of another key is moved aside.
        product: A file that it makes for the commands behind it. If that or the folder is gone when one of
            them is to run, the command is run again.
        always: Run by each call, for what it makes may be gone and is made in the same way each time: nothing
            behind it is found anew for that.
    """

    name: str
    words: Callable[[], Sequence[str | Path]]
    read: Callable[[], dict[str, float]] = dict
    after: Sequence[str] = ()
    key: str = ""
    folder: Path | None = None
    product: Path | None = None
    always: bool = False

    def is_gone(self, key: str) -> bool:
        """Whether what an earlier call made under a whole key is not there any more."""
        if self.folder is not None and not made_under(self.folder, key):
            return True
        return self.product is not None and not self.product.exists()


def made_under(folder: Path, key: str) -> bool:
    """Whether a folder is one of commands under this whole key."""
    made_from = folder / KEY_FILE
    return made_from.is_file() and made_from.read_text() == key


def whole_keys(commands: Sequence[Command], others: Mapping[str, str]) -> dict[str, str]:
    """Key of each command, with the keys of everything that comes before it.

    Args:
        commands: Of different names.
        others: Keys by name of what comes before them and is none of them.
    """
    by_name = {command.name: command for command in commands}
    keys: dict[str, str] = {}

    def find(name: str, waiting: tuple[str, ...]) -> str:
        if name in keys or name not in by_name:
            return keys.get(name, others.get(name, ""))
        command = by_name[name]
        if name in waiting:  # the queue tells who waits for whom
            return ""
        before = [find(each, (*waiting, name)) for each in command.after]
        words = json.dumps([command.key, before]).encode()
        keys[name] = hashlib.sha256(words).hexdigest()[:16] if any(before) else command.key
        return keys[name]

    for name in by_name:
        find(name, ())
    return keys


def to_find(
    commands: Sequence[Command],
    known: Sequence[Command],
    *,
    wanted: Mapping[str, str],
    found: Mapping[str, str],
    foreign: Collection[str] = (),
) -> tuple[set[str], set[str]]:
    """Which commands have to run, and whose results are of no use any more.

    Args:
        commands: That are asked for.
        known: Others that may have results.
        wanted: Whole keys of all of them.
        found: Keys of the results there are.
        foreign: Names of results that were found elsewhere, so that what they made is not here.

    Returns:
        Names of `commands` that have no result under their key, of what comes after one of these, of what
        one of these needs and is gone, and of those that are always run. And the names, also of `known`,
        whose results are older than what they come after.
    """
    everything = {command.name: command for command in (*known, *commands)}
    asked = {command.name for command in commands}
    run = {name for name in asked if found.get(name) != wanted[name]}
    stale = set(run)
    grown = True
    while grown:
        starts = run | {name for name in asked if everything[name].always}
        needed = {before for name in starts for before in everything[name].after}
        anew = {
            name
            for name in needed & everything.keys() - run
            if name in stale
            or (name in foreign and not everything[name].always)
            or everything[name].is_gone(wanted[name])
        }
        anew |= {name for name in asked - run if stale & set(everything[name].after)}
        behind = {name for name in everything if stale & set(everything[name].after)}
        grown = bool(anew - run or behind - stale)
        run |= anew
        stale |= run | behind
    return run | {name for name in asked if everything[name].always}, stale
