"""OptionAction: `--cfg-options KEY=VALUE ...` of every tool."""

from __future__ import annotations

import argparse
from typing import Any

from mmengine.config import DictAction


class OptionAction(DictAction):
    """mmengine's, which knows numbers, texts, lists and tuples, and refuses dicts in words.

    It would make a text of `dict(a=1)`, and recurse for ever on `dict(a=1,b=2)`.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Read the values; end with a sentence where one is no `KEY=VALUE` or a dict."""
        for word in values or ():
            key, equals, value = word.partition("=")
            if not equals:
                parser.error(f"{option_string or 'options'}: {word!r} is no KEY=VALUE")
            if "dict(" in value or "{" in value:
                parser.error(
                    f"{word}: a dict cannot be given here; give each entry by itself, {key}.ENTRY=VALUE, or "
                    "write it into a config"
                )
        super().__call__(parser, namespace, values, option_string)
