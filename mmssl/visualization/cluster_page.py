"""One HTML page of a clustering: prototypes to browse, the path of every image, removed negatives.

The page holds one block of JSON and draws from it what is looked at, so thousands of prototypes stay usable.
It needs no network and no other file.
"""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from torch import Tensor

from mmssl.datasets.image_dataset import ImageDataset
from mmssl.visualization.cluster_page_script import CLUSTER_SCRIPT, CLUSTER_STYLE
from mmssl.visualization.cluster_summary import ClusterSummary, LevelSummary
from mmssl.visualization.image_names import ImageNames
from mmssl.visualization.removed_negatives import RemovedOnLevel, removed_sentence
from mmssl.visualization.report import Section, Tile, TilesSection, write_report
from mmssl.visualization.thumbnails import jpeg_thumbnails

Removed = Mapping[int, Sequence[RemovedOnLevel]]


@dataclass(frozen=True)
class ClusterPage:
    """What a page shows.

    Attributes:
        title: Heading.
        subtitle: Small print below it.
        summary: Of the clustering.
        names: Of all images.
        queries: Images that are shown first, with their removed negatives.
        removed: Per query what each level removed; empty without a selection.
        note: A sentence in place of removed negatives, such as why there are none.
    """

    title: str
    subtitle: str
    summary: ClusterSummary
    names: ImageNames
    queries: Sequence[int]
    removed: Removed
    note: str = ""


@dataclass(frozen=True)
class _Browser:
    """The section whose content the script draws."""

    title: str
    data: Mapping[str, Any]

    def body(self) -> str:
        """The data, and where it will be drawn."""
        # No tag can end the block: file names are written by others.
        text = json.dumps(self.data, separators=(",", ":")).replace("<", "\\u003c")
        return (
            "<noscript><p>This page needs scripts.</p></noscript>"
            '<div id="clusters"></div><dialog id="path" aria-labelledby="path-title"></dialog>'
            f'<script type="application/json" id="cluster-data">{text}</script>'
        )


@dataclass(frozen=True)
class _Queries:
    """The section of the chosen images; the script fills it."""

    title: str
    note: str

    def body(self) -> str:
        """Where the queries will be drawn."""
        return f'<p class="note">{escape(self.note)}</p><div id="queries"></div>'


def thumbnail_order(summary: ClusterSummary, first: Iterable[int], limit: int) -> list[int]:
    """Images that get a thumbnail: those asked for, then a rank of every prototype after the other.

    Args:
        summary: Of the clustering.
        first: Images that come before all others.
        limit: How many at most, besides those.

    Returns:
        Positions, each once.
    """
    wanted = dict.fromkeys(first)
    limit += len(wanted)
    coarse_first = [*reversed(summary.levels)]
    nearest = [level.nearest.images for level in coarse_first]
    listed = [level.listed for level in coarse_first]
    columns = [*_columns(nearest), *_columns(listed)]
    for index in itertools.chain.from_iterable(columns):
        if len(wanted) >= limit:
            break
        if index >= 0:
            wanted[index] = None
    return list(wanted)


def _columns(tables: Sequence[Tensor]) -> list[list[int]]:
    """The first columns of all tables, then the second ones, and so on."""
    widest = max(table.shape[1] for table in tables)
    return [
        table[:, rank].tolist()
        for rank in range(widest)
        for table in tables
        if rank < table.shape[1]
    ]


def _common_start(files: Sequence[bytes]) -> bytes:
    """What all files begin with, in whole groups of three bytes, which base64 writes by themselves."""
    if not files:
        return b""
    first, last = min(files), max(files)
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return first[: sum(1 for _ in same) // 3 * 3]


def _level_data(level: LevelSummary, place: Mapping[int, int]) -> dict[str, Any]:
    """One level for the page; images by their place in its table."""
    counts = level.classes
    return dict(
        members=level.members.tolist(),
        density=[round(value, 5) for value in level.density.tolist()],
        parent=None if level.parents is None else level.parents.tolist(),
        nearest=[[place[index] for index in row] for row in level.nearest.images.tolist()],
        cosine=[[round(value, 3) for value in row] for row in level.nearest.similarity.tolist()],
        listed=[[place[index] for index in row if index >= 0] for row in level.listed.tolist()],
        classes=None if counts is None else counts.top,
        known=None if counts is None else counts.known,
    )


def _removed_data(
    queries: Sequence[int], removed: Removed, place: Mapping[int, int]
) -> list[dict[str, Any]]:
    """The chosen images and what was removed for them."""
    return [
        dict(
            image=place[query],
            levels=[
                dict(
                    text=removed_sentence(level),
                    keys=[
                        [place[key.image], round(key.probability, 3), key.same]
                        for key in level.keys
                    ],
                )
                for level in removed.get(query, ())
            ],
        )
        for query in queries
    ]


def page_data(
    page: ClusterPage,
    dataset: ImageDataset,
    *,
    max_thumbnails: int = 12000,
    side: int = 64,
    quality: int = 70,
    num_threads: int = 2,
    progress: str = "",
) -> dict[str, Any]:
    """The block of JSON that the page draws from.

    Args:
        page: What is shown.
        dataset: Has the images.
        max_thumbnails: Images with a thumbnail, besides those of the queries; others are shown by name.
        side: Of the thumbnails in pixels.
        quality: Of their JPEGs.
        num_threads: Threads that decode.
        progress: Title of the progress bar; empty shows none.

    Returns:
        `tree`; `levels`: per level its arrays; `images`: a table with dataset position, file, class and
        prototypes of every image that occurs, and base64 of its JPEG behind `jpeg_head`, with which all of
        them begin, or null; `classes`: names; `queries`. Everything else names an image by its place in
        that table.
    """
    summary, names = page.summary, page.names
    keys = [key.image for levels in page.removed.values() for level in levels for key in level.keys]
    pictured = thumbnail_order(summary, [*page.queries, *keys], max_thumbnails)
    tables = [table for level in summary.levels for table in (level.nearest.images, level.listed)]
    shown = (row for table in tables for row in table.tolist())
    others = (index for index in itertools.chain.from_iterable(shown) if index >= 0)
    images = list(dict.fromkeys([*pictured, *others]))
    place = {index: number for number, index in enumerate(images)}
    jpegs = jpeg_thumbnails(
        dataset,
        pictured,
        side=side,
        quality=quality,
        num_threads=num_threads,
        progress=progress,
    )
    head = _common_start(jpegs)
    labels = names.labels
    used = set() if labels is None else {label for label in labels.tolist() if label >= 0}
    return dict(
        tree=summary.tree,
        side=side,
        levels=[_level_data(level, place) for level in summary.levels],
        images=dict(
            position=images,
            file=[names.files[index] for index in images],
            label=None if labels is None else labels[images].tolist(),
            prototypes=summary.assigned[:, images].tolist(),
            jpeg_head=base64.b64encode(head).decode(),
            jpeg=[base64.b64encode(jpeg[len(head) :]).decode() for jpeg in jpegs]
            + [None] * (len(images) - len(jpegs)),
        ),
        classes={label: names.class_name(label) for label in sorted(used)},
        queries=_removed_data(page.queries, page.removed, place),
    )


def _tiles(summary: ClusterSummary) -> TilesSection:
    """Headline numbers of the clustering."""
    tiles = [Tile("images", f"{summary.assigned.shape[1]:,}")]
    for number, level in enumerate(summary.levels):
        sizes = level.members[level.members > 0]
        used, total = len(sizes), len(level.members)
        detail = f"{total - used} empty, " if used < total else ""
        detail += f"{int(sizes.median())} images in the median"
        if level.classes is not None and sum(level.classes.known):
            largest = sum(top[0][1] for top in level.classes.top if top)
            detail += f", purity {100 * largest / sum(level.classes.known):.1f} %"
        tiles.append(Tile(f"prototypes, level {number}", f"{used:,}", detail))
    detail = "images that lie nearest to their own prototype of level 0 now"
    tiles.append(Tile("up to date", f"{100 * summary.agreement:.1f} %", detail))
    return TilesSection("At a glance", tiles)


def write_cluster_page(
    path: str | Path,
    page: ClusterPage,
    data: Mapping[str, Any],
) -> Path:
    """Write the page; a reader never sees half of it.

    Args:
        path: The file.
        page: What is shown.
        data: See `page_data`.

    Returns:
        The path that was written.
    """
    sections: list[Section] = [_tiles(page.summary), _Browser("Prototypes", data)]
    if page.queries:
        title = "Removed negatives" if page.removed else "Chosen images"
        sections.append(_Queries(title, page.note))
    return write_report(
        path,
        page.title,
        sections,
        subtitle=page.subtitle,
        style=CLUSTER_STYLE,
        script=CLUSTER_SCRIPT,
    )
