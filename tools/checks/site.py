"""Check a built documentation site: `python tools/checks/site.py build/site`.

Reported are: a link or picture that leads to no file, an anchor that its page does not have, a page that no
path of links from the front page reaches, and a style sheet, script or picture that a reader's browser would
fetch from elsewhere.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

FRONT = "index.html"
# Made by Sphinx; every page links to them by its search box and index.
OWN_PAGES = ("search.html", "genindex.html", "py-modindex.html")


class Page(HTMLParser):
    """What a page refers to.

    Attributes:
        links: Targets of links.
        loaded: Addresses that a browser reads to show the page.
        ids: Anchors.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the addresses and the anchor of a tag."""
        given = {name: value for name, value in attrs if value}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "meta" and given.get("http-equiv") == "refresh":
            self.links.append(given["content"].partition("url=")[2])
        elif tag == "link" and "href" in given and given.get("rel") != "canonical":
            self.loaded.append(given["href"])
        elif "src" in given:
            self.loaded.append(given["src"])


def is_elsewhere(address: str) -> bool:
    """Whether an address is not one of this site.

    Example:
        >>> is_elsewhere("https://example.org/a"), is_elsewhere("a.html#b")
        (True, False)
    """
    parts = urlsplit(address)
    return bool(parts.scheme or parts.netloc)


def target_of(page: Path, address: str) -> tuple[Path, str]:
    """The file and the anchor that an address on a page means."""
    parts = urlsplit(address)
    path = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    return path, unquote(parts.fragment)


def reachable(front: Path, pages: dict[Path, Page]) -> set[Path]:
    """The pages that links lead to from the front page."""
    seen, waiting = set(), [front]
    while waiting:
        path = waiting.pop()
        if path in seen or path not in pages:
            continue
        seen.add(path)
        waiting += [
            target_of(path, link)[0] for link in pages[path].links if not is_elsewhere(link)
        ]
    return seen


def broken(path: Path, pages: dict[Path, Page]) -> Iterable[str]:
    """What is wrong with the addresses of one page."""
    page = pages[path]
    for address in page.loaded:
        if is_elsewhere(address) and not address.startswith("data:"):
            yield f"loads {address} from elsewhere"
    for address in [*page.links, *page.loaded]:
        if is_elsewhere(address):
            continue
        target, anchor = target_of(path, address)
        if not target.exists():
            yield f"leads to {address}, which does not exist"
        elif anchor and target in pages and anchor not in pages[target].ids:
            yield f"leads to {address}, where nothing has this anchor"


def problems(site: Path) -> list[str]:
    """Everything that is wrong with a site.

    Args:
        site: Its folder.

    Returns:
        A sentence each, in the order of the files.

    Raises:
        FileNotFoundError: There is no front page.
    """
    site = site.resolve()
    front = site / FRONT
    if not front.is_file():
        raise FileNotFoundError(f"{site} has no {FRONT}; build the site first: make docs")
    pages = {
        path: Page(path.read_text(encoding="utf-8"))
        for path in sorted(site.rglob("*.html"))
        if "_static" not in path.parts
    }
    found = [f"{path.relative_to(site)} {fault}" for path in pages for fault in broken(path, pages)]
    lost = set(pages) - reachable(front, pages) - {site / name for name in OWN_PAGES}
    found += [f"{path.relative_to(site)} is reached by no link" for path in sorted(lost)]
    return found


def main() -> None:
    """Check the site named on the command line."""
    parser = argparse.ArgumentParser(description="Check a built documentation site.")
    parser.add_argument("site", type=Path, help="its folder")
    found = problems(parser.parse_args().site)
    for fault in found:
        print(fault)
    if found:
        sys.exit(f"{len(found)} faults")


if __name__ == "__main__":
    main()
