"""The images that a run with prototypes has clustered, as its config names them, and their embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from torch import Tensor

from mmssl.datasets import ImageDataset, ImageFolder, ImageList
from mmssl.datasets.label_file import read_label_file
from mmssl.evaluation.embeddings import embed_images
from mmssl.evaluation.evaluate import center_views
from mmssl.evaluation.features import Branch, evaluation_loader
from mmssl.models.algorithms.base import BaseAlgorithm
from mmssl.registry import DATASETS
from mmssl.visualization.image_names import ImageNames, image_names


class ClusteredImages(NamedTuple):
    """The images that were clustered: the data set and what they are called."""

    dataset: ImageDataset
    names: ImageNames


def cluster_hook(config: Config) -> dict[str, Any]:
    """The settings of the config's ClusterHook; empty without one."""
    hooks = [*config.get("custom_hooks", []), *config.get("default_hooks", {}).values()]
    kinds = ("ClusterHook", "mmssl.ClusterHook")
    return next((dict(hook) for hook in hooks if hook and hook.get("type") in kinds), {})


def load_clustered_images(
    config: Config,
    hook: Mapping[str, Any],
    *,
    data: str | None = None,
    labels: str | None = None,
    size: int | None = None,
) -> ClusteredImages:
    """The images with the evaluation view, and their classes.

    Args:
        config: Of the run.
        hook: From `cluster_hook`.
        data: A folder or a list, in place of what the config names.
        labels: A file for `read_label_file`, in place of the classes of the data set.
        size: Side of the evaluation crop, in place of the hook's view.

    Raises:
        ValueError: The config names no images, or none in files.
    """
    views = hook.get("views")
    if views is None or size is not None:
        views = center_views(size or 224)
    settings = config.get("train_dataloader", {}).get("dataset")
    if data is not None:
        dataset = (ImageFolder if Path(data).is_dir() else ImageList)(data, views)
    elif settings is None:
        raise ValueError(
            f"{config.filename} names no images (train_dataloader.dataset): give --data."
        )
    else:
        dataset = DATASETS.build({**settings, "views": views})
    if not isinstance(dataset, ImageDataset):
        raise ValueError(
            f"The pictures need a data set of image files, got a {type(dataset).__name__}: give the "
            "images in the same order as a folder or list with --data."
        )
    if labels is not None:
        own, classes = read_label_file(labels, dataset)
        return ClusteredImages(dataset, image_names(dataset, torch.tensor(own), classes))
    known = torch.tensor(dataset.labels)
    has_classes = known.ndim == 1 and bool((known >= 0).any())
    names = image_names(dataset, known if has_classes else None, dataset.classes)
    return ClusteredImages(dataset, names)


def clustered_embeddings(
    model: BaseAlgorithm,
    dataset: ImageDataset,
    branch: Branch,
    *,
    batch_size: int,
    num_workers: int,
) -> tuple[Tensor, int]:
    """(n, D) unit rows, made as those that were clustered, and how many images cannot be read.

    Those have the embeddings of the images that the data set shows in their place.

    Args:
        model: With a neck.
        dataset: With the evaluation view.
        branch: Whose embeddings.
        batch_size: Images at a time.
        num_workers: Worker processes.
    """
    loader = evaluation_loader(dataset, batch_size=batch_size, num_workers=num_workers)
    rows = torch.empty(len(dataset), model.neck.out_channels)
    title = "Embeddings"
    replaced = embed_images(model, loader, rows, branch=branch, poll=lambda: None, progress=title)
    return rows, replaced
