"""Pooled features of a frozen backbone over a dataset, in dataset order."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import torch
from mmengine.dataset import default_collate
from rich.progress import track
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmssl.models.algorithms.base import BaseAlgorithm, bare_model
from mmssl.models.backbones import view_and_map
from mmssl.models.data_preprocessor import ViewPreprocessor
from mmssl.ops.collectives import gather_cat, rank, world_size
from mmssl.registry import DATASETS, build_module
from mmssl.structures import ViewBatch

Branch = Literal["online", "twin"]

GATHER_ROWS = 4096


class Features(NamedTuple):
    """Features of a dataset, in the order of its images.

    Attributes:
        features: (N, D) float32 on the CPU.
        labels: (N,) int64 classes, -1 where an image has none; or (N, C) int8 of images with several
            classes, 1 present, 0 only difficult, -1 absent.
    """

    features: Tensor
    labels: Tensor


def labelled(data: Features) -> Features:
    """Only the images that have a label; those with one label per class have."""
    if data.labels.ndim == 2:
        return data
    keep = data.labels >= 0
    return Features(data.features[keep], data.labels[keep])


def match_classes(
    data: Features, classes: Sequence[str] | None, reference: Sequence[str] | None
) -> Features:
    """Number the classes of one folder as another folder does, by their names.

    A class folder that is missing on one side shifts all numbers behind it, which would spoil every
    accuracy without an error.

    Args:
        data: Features whose labels index `classes`.
        classes: Names of the classes of `data`, or `None` if only numbers are known.
        reference: Names in the wanted order, or `None`.

    Raises:
        ValueError: `reference` lacks a class of `data`, or images with one label per class have others.
    """
    if classes is None or reference is None or list(classes) == list(reference):
        return data
    if data.labels.ndim == 2:
        raise ValueError(
            "The training and validation images have other classes or another order of them: "
            f"{', '.join(reference[:5])}, ... and {', '.join(classes[:5])}, ... Give both sets the same."
        )
    absent = [name for name in classes if name not in reference]
    if absent:
        raise ValueError(
            f"{len(absent)} of the {len(classes)} classes to evaluate have no training images: "
            f"{', '.join(absent[:5])}. Name the class folders of both sets alike."
        )
    number = torch.tensor([*(list(reference).index(name) for name in classes), -1])
    return Features(data.features, number[data.labels])


def evaluation_loader(
    dataset: Any,
    *,
    batch_size: int = 64,
    num_workers: int = 0,
    limit: int | None = None,
    epoch: int = 0,
) -> DataLoader:
    """A loader over a dataset in its own order; each rank gets every R-th image.

    It has its own generator, so iterating it draws nothing from the generators of a training run.

    Args:
        dataset: A dataset of mmssl or its config.
        batch_size: Images per batch and rank.
        num_workers: Worker processes.
        limit: Use this many images, always the same random ones; `None` uses all.
        epoch: Epoch of the views; only random views (crops for training) depend on it.

    Raises:
        ValueError: The dataset is empty, or holds fewer images than there are processes.
    """
    dataset = build_module(DATASETS, dataset)
    total = len(dataset)
    if total == 0:
        raise ValueError(f"Nothing to evaluate: {type(dataset).__name__} holds no image.")
    count = total if limit is None else min(limit, total)
    if count < world_size():
        raise ValueError(f"{count} image(s) cannot be spread over {world_size()} processes.")
    positions: Sequence[int] = range(total)
    if count < total:
        # Drawn, not every n-th: a list that goes through its classes in turn would lose some of them.
        drawn = torch.randperm(total, generator=torch.Generator().manual_seed(0))
        positions = sorted(drawn[:count].tolist())
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=[(epoch, position) for position in positions[rank() :: world_size()]],
        num_workers=num_workers,
        collate_fn=default_collate,
        generator=torch.Generator().manual_seed(0),
    )


def select_backbone(network: nn.Module, branch: Branch) -> nn.Module:
    """The backbone of an algorithm's online network or twin; a plain backbone is its own.

    Raises:
        ValueError: There is no such branch.
    """
    if branch not in ("online", "twin"):
        raise ValueError(f"branch must be 'online' or 'twin', got {branch!r}.")
    if not isinstance(network, BaseAlgorithm):
        if branch == "twin":
            raise ValueError(
                f"branch='twin' needs an algorithm with a twin, got a {type(network).__name__}."
            )
        return network
    if branch == "online":
        return network.backbone
    if network.twin is None or "backbone" not in network.twin.names:
        raise ValueError(
            f"{type(network).__name__} has no twin of its backbone; use branch='online'."
        )
    return network.twin.get_submodule("backbone")


def _statistics(module: nn.Module) -> list[Tensor]:
    names = ("running_mean", "running_var", "num_batches_tracked")
    return [
        buffer.clone()
        for name, buffer in module.named_buffers()
        if name.rsplit(".", 1)[-1] in names
    ]


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Eval mode without gradients; on leaving, every sub-module gets its own mode back.

    What was compiled for training runs as it is written: evaluation has other sizes and modes, each of
    which would be compiled anew.

    Raises:
        RuntimeError: A running statistic of a normalisation layer changed inside: the module does
            not honour eval mode, and its features would depend on the order of the images.
    """
    modes = {child: child.training for child in module.modules()}
    compiled = {child: child._compiled_call_impl for child in modes}
    own_view = vars(module).pop("view_and_map", None)
    before = _statistics(module)
    module.eval()
    try:
        for child in modes:
            child._compiled_call_impl = None
        with torch.no_grad():
            yield
    finally:
        for child, mode in modes.items():
            child.training = mode
            child._compiled_call_impl = compiled[child]
        if own_view is not None:
            vars(module)["view_and_map"] = own_view
    if not all(map(torch.equal, before, _statistics(module))):
        raise RuntimeError(
            f"{type(module).__name__} changed its normalisation statistics in eval mode. A layer "
            "overrides train() or eval() and keeps training; repair it before evaluating."
        )


def pool_stage(maps: Sequence[Tensor], stage: int = -1) -> Tensor:
    """Average of one feature map over its positions, (B, C, H, W) -> (B, C), in float32.

    Raises:
        ValueError: The backbone returned no such stage.
    """
    if not -len(maps) <= stage < len(maps):
        raise ValueError(
            f"stage={stage}, but the backbone returns {len(maps)} map(s); see its out_indices."
        )
    return maps[stage].float().flatten(2).mean(dim=2)


def view_feature(backbone: nn.Module, images: Tensor, stage: int = -1) -> Tensor:
    """What evaluation takes for an image: (B, 3, H, W) -> (B, C) float32.

    The mean of a map over its positions; for the last stage of a backbone with a class token, that.
    """
    if stage == -1 and hasattr(backbone, "view_and_map"):
        return view_and_map(backbone, images)[0].float()
    return pool_stage(backbone(images), stage)


def rows_of_all_ranks(local: Tensor, device: torch.device) -> Tensor:
    """All ranks' rows of a CPU tensor, through the device, a few thousand rows at a time."""
    if world_size() == 1:
        return local
    counts = gather_cat(torch.tensor([len(local)], device=device)).tolist()
    parts: list[list[Tensor]] = [[] for _ in counts]
    for start in range(0, max(counts), GATHER_ROWS):
        size = min(GATHER_ROWS, max(counts) - start)
        rows = local[start : start + size]
        padded = rows.new_zeros(size, *local.shape[1:])
        padded[: len(rows)] = rows
        for part, count, block in zip(
            parts, counts, gather_cat(padded.to(device)).cpu().split(size), strict=True
        ):
            part.append(block[: max(0, min(size, count - start))])
    return torch.cat([block for part in parts for block in part])


def rows_of_images(
    network: nn.Module,
    loader: DataLoader,
    compute: Callable[[nn.Module, ViewBatch], Tensor],
    *,
    branch: Branch = "online",
    preprocessor: nn.Module | None = None,
    progress: str = "",
) -> Features:
    """What `compute` says about every image, a row each, in the order of the dataset.

    The backbone runs in eval mode without gradients and is left as it was found. On several ranks
    each one gets the rows of all images. The order is the dataset's whatever the order of the loader;
    images that came twice (padding of a sampler) count once.

    Args:
        network: An algorithm (maybe wrapped for distributed training) or a backbone.
        loader: Yields dicts with `inputs`, a `ViewBatch`; see `evaluation_loader`.
        compute: Given the backbone and a normalised `ViewBatch` of B images, returns (B, D).
        branch: The online network's or the twin's backbone.
        preprocessor: Normalises the images of a plain backbone; default `ViewPreprocessor()`. An
            algorithm brings its own.
        progress: Title of the progress bar; empty shows none.

    Returns:
        The rows as `features` (N, D), in the precision of `compute`, and the labels.

    Raises:
        ValueError: No such branch, or the loader yields nothing.
        RuntimeError: The backbone changed its statistics in eval mode.
    """
    network = bare_model(network)
    backbone = select_backbone(network, branch)
    if isinstance(network, BaseAlgorithm):
        preprocessor = network.data_preprocessor
    parameter = next(backbone.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    if preprocessor is None:
        preprocessor = ViewPreprocessor()
    preprocessor = preprocessor.to(device)
    computed, labels, index = [], [], []
    batches = track(loader, progress, disable=not progress or rank() != 0)
    with frozen(backbone):
        for data in batches:
            views: ViewBatch = preprocessor(data, False)["inputs"]
            computed.append(compute(backbone, views).cpu())
            labels.append(views.label.cpu())
            index.append(views.index.cpu())
    if not computed:
        raise ValueError("The loader yields no batch; is the folder empty or drop_last set?")
    rows, order, classes = (
        rows_of_all_ranks(torch.cat(parts), device) for parts in (computed, index, labels)
    )
    positions, inverse = order.unique(return_inverse=True)
    # The last write wins, and duplicates are equal.
    chosen = torch.empty_like(positions).scatter_(0, inverse, torch.arange(len(order)))
    return Features(rows[chosen], classes[chosen])


def block_feature(
    backbone: nn.Module, images: Tensor, num_blocks: int, *, patch_mean: bool = False
) -> Tensor:
    """The last blocks' features side by side, (B, 3, H, W) -> (B, D) float32: for DINO's linear probe.

    Args:
        backbone: Has a method `last_blocks`.
        images: Normalised.
        num_blocks: How many blocks count.
        patch_mean: Append the mean of a ViT's patch tokens, as DINO does for ViT-B.

    Raises:
        ValueError: The backbone does not tell them, or not with the mean of the patches.
    """
    if not hasattr(backbone, "last_blocks"):
        raise ValueError(
            f"last_blocks={num_blocks} was asked for, but {type(backbone).__name__} has no method "
            "last_blocks; leave it out to probe the view's feature, as is usual for convolutional "
            "networks."
        )
    if not patch_mean:
        return backbone.last_blocks(images, num_blocks).float()
    if "patch_mean" not in inspect.signature(backbone.last_blocks).parameters:
        raise ValueError(
            f"patch_mean=True was asked for, but last_blocks of {type(backbone).__name__} takes none: it is "
            "for a VisionTransformer; leave it out."
        )
    return backbone.last_blocks(images, num_blocks, patch_mean=True).float()


def extract_features(
    network: nn.Module,
    loader: DataLoader,
    *,
    branch: Branch = "online",
    stage: int = -1,
    last_blocks: int | None = None,
    patch_mean: bool = False,
    preprocessor: nn.Module | None = None,
    progress: str = "",
) -> Features:
    """Pooled float32 features of the first view of every image; see `rows_of_images`.

    Args:
        network: An algorithm (maybe wrapped for distributed training) or a backbone.
        loader: Yields dicts with `inputs`, a `ViewBatch`; see `evaluation_loader`.
        branch: The online network's or the twin's backbone.
        stage: Which of the backbone's maps is pooled.
        last_blocks: Take the features of this many last blocks instead (`block_feature`).
        patch_mean: Of these, see there.
        preprocessor: Normalises the images of a plain backbone; default `ViewPreprocessor()`. An
            algorithm brings its own.
        progress: Title of the progress bar; empty shows none.

    Raises:
        ValueError: No such branch, stage or blocks, or the loader yields nothing.
        RuntimeError: The backbone changed its statistics in eval mode.
    """

    def compute(backbone: nn.Module, views: ViewBatch) -> Tensor:
        images = views.images[0]
        if last_blocks is not None:
            return block_feature(backbone, images, last_blocks, patch_mean=patch_mean)
        return view_feature(backbone, images, stage)

    return rows_of_images(
        network, loader, compute, branch=branch, preprocessor=preprocessor, progress=progress
    )
