"""Embeddings of a whole data set by a network under training, each rank those of its own images."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import torch
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader

from mmssl.evaluation.features import Branch, frozen
from mmssl.evaluation.repeatable import repeatable
from mmssl.models.algorithms.base import BaseAlgorithm
from mmssl.ops.collectives import broadcast_buffers, rank, world_size
from mmssl.structures import ViewBatch


def embed_images(
    algorithm: BaseAlgorithm,
    loader: DataLoader,
    rows: Tensor,
    *,
    branch: Branch,
    poll: Callable[[], None],
    progress: str = "",
) -> int:
    """Write the embeddings of this rank's images, in eval mode, to `rows`.

    With W ranks, rank r has the images r, r + W, ..., each exactly once; image i is row i // W of rank
    i mod W. All ranks use the running statistics of rank 0, so an embedding does not depend on the rank
    that makes it.

    A file that cannot be read has the embedding of the image that the data set shows in its place.

    What is embedded again is the same, bit by bit, on the same machine with batches of the same size: the
    algorithms of convolutions are not chosen by speed, and nothing is rounded to TF32. Only a network with
    operations of which a GPU has no deterministic version makes an exception.

    HCSC (arXiv 2202.00455), section 3.1; the official code pads the last batch with images that two ranks
    embed, and halves their sum.

    Args:
        algorithm: Has `project(net, images)`, which maps (B, 3, H, W) to (B, D).
        loader: That of `evaluation_loader`: first views in the order of the images.
        rows: (n_local, D), filled here; may be mapped from a file.
        branch: `online` or `twin` makes the embeddings.
        poll: Called before every batch, as often on each rank.
        progress: Title of the progress bar; empty shows none.

    Returns:
        Images of this rank that were shown as others.

    Raises:
        RuntimeError: A network changed its statistics in eval mode.
    """
    net = algorithm.twin if branch == "twin" else algorithm
    names = ["backbone", "neck"] if algorithm.twin is None else algorithm.twin.names
    children = [net.get_submodule(name) for name in names]
    most = -(-len(loader.dataset) // world_size())  # of a rank with the most images
    batches = iter(loader)
    done = replaced = 0
    with ExitStack() as stack:
        stack.enter_context(repeatable(next(algorithm.parameters()).device))
        for child in children:
            broadcast_buffers(child)
            stack.enter_context(frozen(child))
        steps = range(-(-most // loader.batch_size))
        for _ in track(steps, progress, disable=not progress or rank() != 0):
            poll()
            data = next(batches, None)
            if data is None:
                continue
            views: ViewBatch = algorithm.data_preprocessor(data, False)["inputs"]
            found = algorithm.project(net, views.images[0])
            rows[done : done + len(found)] = found.to(rows.device, rows.dtype)
            asked = (done + torch.arange(len(found))) * world_size() + rank()
            replaced += int((data["inputs"].index != asked).sum())  # on the CPU: the device goes on
            done += len(found)
    return replaced
