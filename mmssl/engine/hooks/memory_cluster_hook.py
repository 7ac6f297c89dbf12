"""MemoryClusterHook: clusters the embeddings that the last epoch made, and hands them to the model."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from mmengine.runner import EpochBasedTrainLoop
from rich.progress import track
from torch import Tensor

from mmssl.engine.hooks.history_hook import HistoryHook
from mmssl.engine.hooks.preemption_hook import breakable
from mmssl.evaluation.rng import preserved_rng
from mmssl.models.algorithms.base import BaseAlgorithm, bare_model
from mmssl.models.memories import EpochMemory
from mmssl.ops.collectives import gather_objects, rank
from mmssl.ops.partition import contingency, nmi
from mmssl.ops.spherical_kmeans import SphericalClusters, SphericalKMeans
from mmssl.registry import HOOKS


@HOOKS.register_module()
class MemoryClusterHook(HistoryHook):
    """Cluster the memory of the model before each epoch; the clusters are what the epoch has to predict.

    before_train            refuse what could not be clustered later             <-
    for each epoch
        before_train_epoch  fill an empty memory, cluster it for each head       <-
        iterations          the model reads its clusters, and fills the memory
    before_save_checkpoint  keep the history                                     <-
    after_load_checkpoint   take it up again                                     <-

    Unlike `ClusterHook` it embeds nothing by itself: the memory holds what training made of the images.
    Only before the first epoch a pass over the training images fills it, without gradients, in train mode
    and with the views of an epoch that the run does not get to.

    A run that is resumed inside an epoch has the clusters and the half-filled memory of its checkpoint; one
    that is resumed at the beginning of an epoch clusters the memory of the checkpoint and finds the same,
    bit by bit, on the same machine. Clusters are the same on every rank, and for any number of them.

    Logged as `cluster/...`, and kept in `history`, for each head (`_l0`, ...): `used` clusters that have an
    image, `members_max`, `cosine`, the mean product of embeddings and centroids, `nmi` with the clusters
    before; further `seconds_fill` and `seconds_kmeans`.

    DeepCluster-v2: SwAV (arXiv 2006.09882) and its code.

    Args:
        iterations: Of k-means.
        embed_anew: Make that pass before every epoch. For short runs, whose embeddings move so far within an
            epoch that clusters of what it left tell early images from late ones; it costs a forward pass.

    Raises:
        ValueError: `iterations` below 1.
    """

    group = "cluster"
    priority = "NORMAL"

    def __init__(self, iterations: int = 10, *, embed_anew: bool = False) -> None:
        super().__init__()
        self.embed_anew = embed_anew
        self.kmeans = SphericalKMeans(iterations=iterations)

    def before_train(self, runner) -> None:
        """Find the memory; a new run begins with an empty one, whatever its weights were loaded from.

        Raises:
            TypeError: A model without such a memory, or a loop that does not count epochs.
            ValueError: The memory of a resumed run is of another number of images.
        """
        super().before_train(runner)
        model = bare_model(runner.model)
        memory = getattr(model, "memory", None)
        if not isinstance(model, BaseAlgorithm) or not isinstance(memory, EpochMemory):
            raise TypeError(
                f"MemoryClusterHook clusters the memory of a model, but {type(model).__name__} has none. "
                "It is for DeepClusterV2 and methods with `memory`, `remember` and `load_clusters`; take the "
                "hook out of the config."
            )
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise TypeError(
                "MemoryClusterHook clusters before epochs, but the train loop does not count them; use "
                "train_cfg=dict(type='EpochLoop', max_epochs=...)."
            )
        if runner.iter == 0:
            memory.clear()
        elif not memory.fits:
            raise ValueError(
                f"The memory of the checkpoint is of {memory.assignment.shape[1]} images, the training set "
                f"has {memory.num_samples}. Resume with the same images, or start a new run with load_from."
            )

    def before_train_epoch(self, runner) -> None:
        """Cluster, if it was not done.

        Raises:
            Preempted: SIGTERM came; a checkpoint was written.
            ValueError: The memory has fewer images than a head has prototypes.
        """
        model = cast(Any, bare_model(runner.model))
        memory: EpochMemory = model.memory
        if memory.is_ready and int(memory.epoch) == runner.epoch:
            return
        begin = time.perf_counter()
        with breakable(runner) as poll, preserved_rng():
            if self.embed_anew or memory.is_empty():
                self._fill(runner, poll)
            filled = time.perf_counter()
            found = self._cluster(runner, model.num_prototypes, memory, poll)
        figures = _figures(found, memory.assignment if memory.is_ready else None)
        figures |= dict(seconds_fill=filled - begin, seconds_kmeans=time.perf_counter() - filled)
        model.load_clusters(found, epoch=runner.epoch)
        named = {f"cluster/{key}": value for key, value in figures.items()}
        self.record(runner, named, epoch=runner.epoch)
        runner.logger.info(_sentence(figures, len(found), runner.epoch))

    @staticmethod
    def _words(runner, number: int) -> np.ndarray:
        """A random word for a head or a rank at the beginning of this epoch."""
        return np.random.SeedSequence((runner.seed, runner.epoch, number)).generate_state(1)

    def _fill(self, runner, poll: Callable[[], None]) -> None:
        """One pass over the training images; what is broken off leaves the memory empty."""
        model, loader = cast(Any, bare_model(runner.model)), runner.train_dataloader
        moves = hasattr(loader.sampler, "set_epoch")
        model.train()
        model.memory.forget_rows()
        # a resumed run drops and mixes the same
        torch.manual_seed(int(self._words(runner, rank())[0]))
        try:
            if moves:
                loader.sampler.set_epoch(runner.max_epochs)
            title = f"Epoch {runner.epoch + 1}: embedding {len(loader.dataset)} images"
            for batch in track(loader, title, disable=rank() != 0):
                poll()
                model.remember(model.data_preprocessor(batch, True)["inputs"])
        except BaseException:
            model.memory.clear()
            raise
        finally:
            if moves:
                loader.sampler.set_epoch(runner.epoch)

    def _cluster(
        self, runner, num_prototypes: list[int], memory: EpochMemory, poll: Callable[[], None]
    ) -> list[SphericalClusters]:
        """The clusters of each head, from the banks in turn."""
        found = []
        for head, number in enumerate(num_prototypes):
            found.append(
                self.kmeans.fit(
                    memory.bank(head % memory.embeds.shape[1]),
                    memory.present,
                    number,
                    seed=int(self._words(runner, head)[0]),
                    progress=f"Epoch {runner.epoch + 1}: clustering for head {head}",
                    poll=poll,
                )
            )
        return found


def _figures(found: list[SphericalClusters], previous: Tensor | None) -> dict[str, float]:
    """What the log says of each head, the same on every rank.

    Args:
        found: Of the heads.
        previous: (H, N) clusters before these, or `None`.
    """
    figures: dict[str, float] = {}
    for head, clusters in enumerate(found):
        figures[f"used_l{head}"] = float((clusters.counts > 0).sum())
        figures[f"members_max_l{head}"] = float(clusters.counts.max())
        figures[f"cosine_l{head}"] = clusters.cosine
        if previous is not None and rank() == 0:
            both = torch.stack([previous[head].to(clusters.assignment), clusters.assignment])
            before, now = both[:, (both >= 0).all(dim=0)]
            if len(now):
                figures[f"nmi_l{head}"] = nmi(contingency(before, now))
    return gather_objects(figures)[0]


def _sentence(figures: dict[str, float], num_heads: int, epoch: int) -> str:
    """For the log: one clause for each head."""
    heads = []
    for head in range(num_heads):
        change = figures.get(f"nmi_l{head}")
        agreement = "" if change is None else f", NMI with the last {change:.3f}"
        heads.append(
            f"head {head}: {figures[f'used_l{head}']:.0f} clusters with images, "
            f"{figures[f'members_max_l{head}']:.0f} members at most, cosine "
            f"{figures[f'cosine_l{head}']:.3f}{agreement}"
        )
    return (
        f"Clustered before epoch {epoch + 1}: filling {figures['seconds_fill']:.1f} s, k-means "
        f"{figures['seconds_kmeans']:.1f} s; {'; '.join(heads)}."
    )
