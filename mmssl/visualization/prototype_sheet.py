"""One prototype and its children as a picture.

HCSC: Hierarchical Contrastive Selective Coding, 2022, arXiv 2202.00455, the figures of its hierarchy.
"""

from __future__ import annotations

from PIL import Image

from mmssl.datasets.image_dataset import ImageDataset
from mmssl.visualization.cluster_summary import ClusterSummary
from mmssl.visualization.image_names import ImageNames
from mmssl.visualization.image_sheet import SheetCell, SheetLine, image_sheet
from mmssl.visualization.semantic_path import OTHER, OWN


def prototype_sheet(
    dataset: ImageDataset,
    level: int,
    prototype: int,
    summary: ClusterSummary,
    names: ImageNames,
    *,
    max_children: int = 12,
) -> Image.Image:
    """The images nearest to a prototype and, a row each, to its children, the largest first.

    A blue frame marks members, a grey one images that lie near but belong elsewhere.

    Args:
        dataset: Has the images.
        level: Of the prototype, 0 is the finest.
        prototype: Its number.
        summary: Of the clustering.
        names: Of all images.
        max_children: Children that are drawn.

    Raises:
        ValueError: There is no such prototype.
    """
    sizes = [len(one.members) for one in summary.levels]
    if not (0 <= level < len(sizes) and 0 <= prototype < sizes[level]):
        raise ValueError(f"There is no prototype {level}/{prototype}: the levels have {sizes}.")

    def line(at: int, number: int, what: str) -> SheetLine:
        nearest = summary.levels[at].nearest.images[number]
        member = (summary.assigned[at, nearest] == number).tolist()
        cells = [
            SheetCell(image, names.class_of(image) or "", OWN if own else OTHER)
            for image, own in zip(nearest.tolist(), member, strict=True)
        ]
        return SheetLine(
            f"{what} {at}/{number}, {int(summary.levels[at].members[number])} images", cells
        )

    lines = [line(level, prototype, "prototype")]
    parents = summary.levels[level - 1].parents if level else None
    children = [] if parents is None else (parents == prototype).nonzero()[:, 0].tolist()
    members = summary.levels[level - 1].members
    children.sort(key=lambda child: -int(members[child]))
    lines += [line(level - 1, child, "child") for child in children[:max_children]]
    hidden = len(children) - max_children
    title = f"Prototype {level}/{prototype}" + (f", {hidden} more children" if hidden > 0 else "")
    return image_sheet(dataset, title, lines)
