"""The semantic path of an image: what its prototypes stand for, from the finest level to the coarsest.

HCSC: Hierarchical Contrastive Selective Coding, 2022, arXiv 2202.00455, the figure of a hierarchy: a bear
with a fish, then bears, then animals in water.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from PIL import Image

from mmssl.datasets.image_dataset import ImageDataset
from mmssl.visualization.cluster_summary import ClusterSummary
from mmssl.visualization.image_names import ImageNames
from mmssl.visualization.image_sheet import SheetCell, SheetLine, image_sheet

OWN, OTHER = (47, 111, 222), (190, 196, 206)


class PathStep(NamedTuple):
    """One prototype of a path.

    Attributes:
        level: Its level, 0 is the finest.
        prototype: Its number.
        members: Images that it has.
        images: (position, cosine, whether it is a member) of the images nearest to it, nearest first.
    """

    level: int
    prototype: int
    members: int
    images: list[tuple[int, float, bool]]


def semantic_path(summary: ClusterSummary, index: int) -> list[PathStep]:
    """The prototypes of an image and the images nearest to them.

    Args:
        summary: Of the clustering.
        index: Position of the image.

    Raises:
        ValueError: There is no such image.
    """
    num_images = summary.assigned.shape[1]
    if not 0 <= index < num_images:
        raise ValueError(f"There is no image {index}: the clustering has 0 to {num_images - 1}.")
    steps = []
    for number, level in enumerate(summary.levels):
        prototype = int(summary.assigned[number, index])
        nearest = level.nearest.images[prototype]
        member = summary.assigned[number, nearest] == prototype
        cosines = level.nearest.similarity[prototype].tolist()
        images = list(zip(nearest.tolist(), cosines, member.tolist(), strict=True))
        steps.append(PathStep(number, prototype, int(level.members[prototype]), images))
    return steps


def path_record(index: int, path: Sequence[PathStep], names: ImageNames) -> dict[str, Any]:
    """A path for JSON.

    Args:
        index: The image.
        path: Its prototypes.
        names: Of all images.
    """
    return dict(
        image=index,
        file=names.files[index],
        label=names.class_of(index),
        path=[
            dict(
                level=step.level,
                prototype=step.prototype,
                members=step.members,
                nearest=[
                    dict(
                        image=image,
                        file=names.files[image],
                        label=names.class_of(image),
                        cosine=round(cosine, 4),
                        member=member,
                    )
                    for image, cosine, member in step.images
                ],
            )
            for step in path
        ],
    )


def path_sheet(
    dataset: ImageDataset, index: int, path: Sequence[PathStep], names: ImageNames
) -> Image.Image:
    """The image, and below it a row of pictures per prototype.

    A blue frame marks members of the prototype, a grey one images that lie near but belong elsewhere.

    Args:
        dataset: Has the images.
        index: The image.
        path: Its prototypes.
        names: Of all images.
    """
    label = names.class_of(index)
    lines = [SheetLine("the image", [SheetCell(index, label or "")])]
    for step in path:
        cells = [
            SheetCell(
                image,
                f"{cosine:.2f}" + (f"\n{name}" if (name := names.class_of(image)) else ""),
                OWN if member else OTHER,
            )
            for image, cosine, member in step.images
        ]
        lines.append(
            SheetLine(
                f"nearest to its prototype {step.prototype} of level {step.level} "
                f"({step.members} images); blue frame: members",
                cells,
            )
        )
    return image_sheet(dataset, f"Semantic path of image {index}: {names.files[index]}", lines)
