"""ClusterHook: clusters the embeddings of all training images and hands them to the model as prototypes."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Literal, cast

import torch
from mmengine.runner import EpochBasedTrainLoop
from torch import Tensor
from torch.utils.data import DataLoader

from mmssl.datasets.transforms import MultiView
from mmssl.datasets.view_cache import CachedViews
from mmssl.engine.hooks.history_hook import HistoryHook
from mmssl.engine.hooks.preemption_hook import breakable
from mmssl.engine.worker_start import start_worker
from mmssl.evaluation.cluster_figures import cluster_figures
from mmssl.evaluation.embeddings import embed_images
from mmssl.evaluation.features import Branch, evaluation_loader
from mmssl.evaluation.rng import preserved_rng
from mmssl.models.algorithms.base import BaseAlgorithm, bare_model
from mmssl.models.memories import Prototypes
from mmssl.ops.cluster_levels import cluster_flat, cluster_tree
from mmssl.ops.clusterer import Clusterer, KMeansResult
from mmssl.ops.collectives import ranks_on_this_machine, sum_over_ranks, world_size
from mmssl.ops.feature_store import DTYPES, FeatureStore
from mmssl.ops.kmeans import KMeans, build_clusterer
from mmssl.registry import HOOKS
from mmssl.structures import Clustering

_KMEANS = KMeans()


@HOOKS.register_module()
class ClusterHook(HistoryHook):
    """Cluster all training images before an epoch; the model's `prototypes` are then those of this epoch.

    before_train            refuse what could not be clustered later            <-
    for each epoch
        before_train_epoch  embed all images, cluster, load the prototypes      <- (from `begin_epoch` on)
        iterations          the model reads its prototypes
    before_save_checkpoint  keep the history                                    <-
    after_load_checkpoint   take it up again                                    <-

    Before `begin_epoch` the model has no prototypes: HCSC and PCL are MoCo then (warm-up). From there on no
    epoch is trained without: what a checkpoint lacks is clustered before the first step.

    The images are those of the training set, at the same positions, in `views`. The embeddings are made
    in eval mode and in float32 by the model's `project`, each rank those of every W-th image; the
    clustering is the same on every rank and, up to rounding of the embeddings, for any number of them.
    A file that cannot be read counts as one more copy of the image that the data set shows in its place;
    its own prototype is never asked for, since in training it is replaced as well.

    Training goes on as if nothing had happened: modes, running statistics (of rank 0) and random number
    generators are as before. A run that is resumed inside an epoch has the prototypes of its checkpoint;
    one that is resumed at the beginning of an epoch clusters again and finds the same, bit by bit, on the
    same machine (on a GPU as far as `embed_images` says). Resumed in the warm-up, because `begin_epoch`
    was raised, it drops them. Until the prototypes are loaded nothing is changed, so a run that was killed
    loses only the clustering. SIGTERM saves and ends the run, on several ranks between two batches or
    levels.

    Beyond the embeddings and the cache a process alone takes 20 bytes per image (measured from 1 to 3
    million; 16 at the first clustering). 8 of them do not get fewer with the ranks: the prototypes of all
    images, 4 for good and 4 for the clustering that replaces them; as many for each further level of PCL.

    Logged as `cluster/...`, and kept in `history`: the figures of `cluster_figures` per level (`_l0` is
    the finest), `seconds_embed` and `seconds_kmeans`, `images_per_second` of the embedding on all ranks,
    `unreadable` images.

    HCSC (arXiv 2202.00455), section 3.1; PCL (arXiv 2005.04966), algorithm 1.

    Attributes:
        fills_prototypes: Tells `ProgressHook` that this hook makes the prototypes that a model waits for.

    Args:
        views: Config of the view that is embedded, as in configs/_base_/views/eval.py.
        begin_epoch: First epoch (from 0) with prototypes.
        interval: Epochs from one clustering to the next; in between the older prototypes stay.
        features: Whose embeddings: `twin` or `online`.
        clusterer: Such as `dict(type="KMeans")`, or anything with its `fit`. A `KMeans` without `device`
            computes where the model is.
        batch_size: Images per batch and rank.
        num_workers: Worker processes of each rank; `None`: as many as the training loader has.
        store: Folder for the embeddings, should they not fit into memory (4 D bytes per image).
        store_dtype: `"float32"`, or `"float16"` to keep the embeddings in half the size, at three digits.
        cache: Keep the decoded pixels of `views` from one clustering to the next: `memory` or a folder,
            which resumed runs use again. See `CachedViews` for what it takes.

    Raises:
        KeyError: An unknown clusterer.
        ValueError: A number out of range, unknown `features` or `store_dtype`, or a cache for views that
            are no config.
    """

    group = "cluster"
    priority = "NORMAL"
    fills_prototypes: ClassVar[bool] = True
    counts_epochs: ClassVar[tuple[str, ...]] = ("begin_epoch", "interval")

    def __init__(
        self,
        views: MultiView | dict[str, Any],
        *,
        begin_epoch: int = 20,
        interval: int = 1,
        features: Branch = "twin",
        clusterer: Clusterer | dict[str, Any] = _KMEANS,
        batch_size: int = 160,
        num_workers: int | None = None,
        store: str | None = None,
        store_dtype: Literal["float32", "float16"] = "float32",
        cache: str | None = None,
    ) -> None:
        super().__init__()
        if begin_epoch < 0 or interval < 1 or features not in ("twin", "online"):
            raise ValueError(
                "ClusterHook takes begin_epoch >= 0, interval >= 1 and features 'twin' or 'online', got "
                f"{begin_epoch}, {interval} and {features!r}."
            )
        if store_dtype not in DTYPES:
            raise ValueError(
                f"ClusterHook takes store_dtype {' or '.join(DTYPES)}, got {store_dtype!r}."
            )
        if cache is not None and not isinstance(views, dict):
            raise ValueError("A cache is recognised by the config of its views; give views as one.")
        self.views, self.features = views, features
        self.begin_epoch, self.interval = begin_epoch, interval
        self.clusterer = build_clusterer(clusterer)
        self.batch_size, self.num_workers = batch_size, num_workers
        self.store, self.store_dtype, self.cache = store, store_dtype, cache
        self._loader: DataLoader | None = None

    def before_train(self, runner) -> None:
        """Build the loader; refuse what could not be clustered later, before anything is trained.

        Raises:
            TypeError: A model without prototypes, a data set that cannot show its images in other views,
                or a loop that does not count epochs.
            ValueError: Too few images for the prototypes, prototypes of a resumed run that are of other
                images or of another number, or no twin.
        """
        super().before_train(runner)
        model = bare_model(runner.model)
        _check_model(model, self.features)
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise TypeError(
                "ClusterHook clusters before epochs, but the train loop does not count them; use "
                "train_cfg=dict(type='EpochLoop', max_epochs=...)."
            )
        if self.begin_epoch >= runner.max_epochs:
            runner.logger.warning(
                f"ClusterHook.begin_epoch is {self.begin_epoch} and the run has {runner.max_epochs} "
                "epochs: it is warm-up from beginning to end, and there will be no prototypes."
            )
        device = next(model.parameters()).device
        if isinstance(self.clusterer, KMeans) and self.clusterer.device is None:
            self.clusterer = dataclasses.replace(self.clusterer, device=str(device))
        with preserved_rng():
            self._loader = self._build_loader(runner)
        self._check_prototypes(runner, model.prototypes, len(self._loader.dataset))

    def before_train_epoch(self, runner) -> None:
        """Cluster, if it is time to and was not done.

        Raises:
            Preempted: SIGTERM came; a checkpoint was written.
        """
        epoch, prototypes = runner.epoch, bare_model(runner.model).prototypes
        if epoch < self.begin_epoch:
            return
        due = (epoch - self.begin_epoch) % self.interval == 0
        if prototypes.is_ready and (not due or int(prototypes.epoch) == epoch):
            return
        with breakable(runner) as poll, preserved_rng():
            clustering, figures = self._cluster(runner, poll)
        bare_model(runner.model).load_prototypes(clustering, epoch=epoch)
        self.record(
            runner, {f"cluster/{key}": value for key, value in figures.items()}, epoch=epoch
        )
        runner.logger.info(_sentence(figures, clustering.num_levels, epoch))

    def _build_loader(self, runner) -> DataLoader:
        """The training images in their order, in the views of this hook."""
        training = runner.train_dataloader
        if not hasattr(training.dataset, "with_views"):
            raise TypeError(
                "ClusterHook shows the training images once more, at the same positions and in other "
                "views. That takes a data set with a method `with_views`, such as ImageFolder or ImageList; "
                f"{type(training.dataset).__name__} has none. Train on the data set itself, not on a "
                "wrapper that repeats or joins others."
            )
        # seed 0: the views of every run are the same, whatever its own seed
        dataset = training.dataset.with_views(self.views, seed=0)
        if self.cache is not None:
            share = -(-len(dataset) // world_size()) * ranks_on_this_machine()
            dataset = CachedViews(dataset, self.cache, views=self.views, num_local=share)
        workers = training.num_workers if self.num_workers is None else self.num_workers
        loader = evaluation_loader(dataset, batch_size=self.batch_size, num_workers=workers)
        loader.worker_init_fn = partial(start_worker, None)
        return loader

    def _check_prototypes(self, runner, prototypes: Prototypes, num_images: int) -> None:
        most = max(prototypes.num_clusters)
        if num_images <= most:
            raise ValueError(
                f"{num_images} images cannot be grouped into {most} prototypes. Lower "
                f"model.prototypes.num_clusters (now {prototypes.num_clusters}) well below the number "
                "of images, or add images."
            )
        if not prototypes.is_ready:
            return
        known = prototypes.assignment.shape[1]
        if runner.iter == 0:
            prototypes.clear()
            runner.logger.info(
                "The prototypes of the loaded weights are those of another run: dropped."
            )
        elif runner.epoch < self.begin_epoch:
            prototypes.clear()
            runner.logger.info(
                f"The checkpoint has prototypes, but epoch {runner.epoch + 1} is warm-up "
                f"(begin_epoch={self.begin_epoch}): dropped."
            )
        elif known != num_images:
            raise ValueError(
                f"The prototypes of the checkpoint are of {known} images, the training set has "
                f"{num_images}. Resume with the same images, or start a new run with load_from."
            )
        else:
            _check_numbers(prototypes)

    def _cluster(self, runner, poll: Callable[[], None]) -> tuple[Clustering, dict[str, float]]:
        """The clustering of now and its figures; nothing of the model changes."""
        loader, model = self._loader, bare_model(runner.model)
        assert loader is not None
        prototypes = cast(Prototypes, model.prototypes)
        previous = prototypes.clustering() if prototypes.is_ready else None
        num_images = len(loader.dataset)
        begin = time.perf_counter()
        with FeatureStore(
            len(loader.sampler), prototypes.dim, folder=self.store, dtype=self.store_dtype
        ) as store:
            replaced = embed_images(
                model,
                loader,
                store.rows,
                branch=self.features,
                poll=poll,
                progress=f"Epoch {runner.epoch + 1}: embedding {num_images} images",
            )
            embedded = time.perf_counter()
            cluster = cluster_tree if prototypes.tree else cluster_flat
            clustering = cluster(
                store.rows,
                prototypes.num_clusters,
                clusterer=_Polling(self.clusterer, poll),
                temperature=prototypes.temperature,
                smoothing=prototypes.smoothing,
                clip=prototypes.clip,
                min_members=prototypes.min_members,
                progress=f"Epoch {runner.epoch + 1}: clustering",
            )
        figures = dict(
            seconds_embed=embedded - begin,
            seconds_kmeans=time.perf_counter() - embedded,
            images_per_second=num_images / (embedded - begin),
            unreadable=float(sum_over_ranks(torch.tensor(replaced))),
        )
        return clustering, figures | cluster_figures(clustering, previous)


@dataclasses.dataclass(frozen=True)
class _Polling:
    """A clusterer that lets the run be ended before each level, and of `KMeans` before each iteration.

    Args:
        clusterer: That computes.
        poll: Leaves, if it is time to.
    """

    clusterer: Clusterer
    poll: Callable[[], None]

    def fit(
        self, features: Tensor, num_clusters: int, *, seed: int, progress: str = ""
    ) -> KMeansResult:
        self.poll()
        options: dict[str, Any] = dict(seed=seed, progress=progress)
        if isinstance(self.clusterer, KMeans):
            options["poll"] = self.poll
        return self.clusterer.fit(features, num_clusters, **options)


def _check_numbers(prototypes: Prototypes) -> None:
    """Refuse loaded prototypes that are not as many as the config asks for."""
    wanted = prototypes.num_clusters
    found = [len(level.centroids) for level in prototypes.levels]
    # dissolved ones are missing
    may_lack = prototypes.min_members is not None
    fits = all(
        count == number or (may_lack and count < number)
        for count, number in zip(found, wanted, strict=True)
    )
    if not fits:
        raise ValueError(
            f"The prototypes of the checkpoint are {found}, finest first, but "
            f"model.prototypes.num_clusters is {wanted}. Resume with the numbers of the run, or start a "
            "new one with load_from."
        )


def _check_model(model: Any, branch: Branch) -> None:
    """Refuse a model that this hook cannot serve."""
    fits = isinstance(model, BaseAlgorithm) and isinstance(
        getattr(model, "prototypes", None), Prototypes
    )
    if not fits:
        raise TypeError(
            f"ClusterHook fills the prototypes of a model, but {type(model).__name__} has none. It is "
            "for HCSC, PCL and methods with `prototypes`, `project` and `load_prototypes`; take the hook "
            "out of the config."
        )
    if branch == "twin" and model.twin is None:
        raise ValueError(f"{type(model).__name__} has no twin; use ClusterHook(features='online').")


def _sentence(figures: dict[str, float], num_levels: int, epoch: int) -> str:
    """For the log: one clause for each level."""
    levels = []
    for level in range(num_levels):
        about = {name: figures[f"{name}_l{level}"] for name in ("used", "members_max", "objective")}
        change = figures.get(f"nmi_l{level}")
        agreement = "" if change is None else f", NMI with the last {change:.3f}"
        levels.append(
            f"level {level}: {about['used']:.0f} prototypes with images, {about['members_max']:.0f} "
            f"members at most, objective {about['objective']:.5g}{agreement}"
        )
    unreadable = figures["unreadable"]
    note = f" {unreadable:.0f} images cannot be read; others stand for them." if unreadable else ""
    return (
        f"Clustered before epoch {epoch + 1}: embeddings {figures['seconds_embed']:.1f} s "
        f"({figures['images_per_second']:.0f} images/s), k-means {figures['seconds_kmeans']:.1f} s; "
        f"{'; '.join(levels)}.{note}"
    )
