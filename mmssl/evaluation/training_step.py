"""What a training step of a recipe consists of, counted in one step of the built model."""

from __future__ import annotations

import math
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from PIL import Image
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mmssl.datasets.image_dataset import ImageDataset
from mmssl.models.algorithms.base import BaseAlgorithm
from mmssl.models.layers import make_norms_local
from mmssl.models.memories import EpochMemory
from mmssl.ops.spherical_kmeans import SphericalClusters
from mmssl.registry import MODELS, SCOPE
from mmssl.structures import Progress

_SIDE = 256  # px, of the images that views are cut from
_FEW = 1024  # bytes; smaller buffers are counters and centres


class TrainingStep(NamedTuple):
    """A step of one recipe.

    Attributes:
        views: Side of each view in px, by which the backbone sees it -> views of that side per image.
        twin_views: The same of the twin's backbone; empty without a twin.
        parts: Name of each part but the backbone -> what its layers put out, in order.
        losses: Names of the loss terms.
        backbone: Parameters of the backbone.
        trained: Parameters that learn, on the backbone and behind it.
        twin: Parameters of the twin.
        twin_momentum: Of its average at the beginning and at the end; empty without a twin.
        memories: Name of what is remembered from batch to batch -> its shape.
        flops: Of matrix products and convolutions per image, forward and backward.
        kept: Bytes that the forward pass keeps for the backward pass of one more image.
        state: Bytes of weights, twin, memories and what the optimizer remembers, as in a checkpoint.
    """

    views: dict[int, float]
    twin_views: dict[int, float]
    parts: dict[str, tuple[int, ...]]
    losses: tuple[str, ...]
    backbone: int
    trained: int
    twin: int
    twin_momentum: tuple[float, ...]
    memories: dict[str, tuple[int, ...]]
    flops: float
    kept: float
    state: int


def training_step(config: Config, images: int = 2) -> TrainingStep:
    """Build a recipe's model and take its first step on noise, on the CPU, without its hooks.

    Args:
        config: A pretraining config; its images are not needed.
        images: In the batch; at least 2, for BatchNorm.

    Raises:
        ValueError: The model is no self-supervised method, or there are fewer than two images.
    """
    if images < 2:
        raise ValueError(f"A step needs at least two images, got {images}.")
    with DefaultScope.overwrite_default_scope(config.get("default_scope", SCOPE)):
        model = _built(config)
        wrapper = build_optim_wrapper(model, config.optim_wrapper)
        batch = _noise(config, images)
    views = _Views(model.backbone)
    twin_views = None if model.twin is None else _Views(model.twin.backbone)
    others = (model.backbone, model.twin, model.data_preprocessor)
    parts = {name: _Widths(one) for name, one in model.named_children() if one not in others}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of batches as small as this one
        with FlopCounterMode(display=False) as counter:
            logged = model.train_step(batch, wrapper)
        watchers: list[_Views | _Widths] = [views, *parts.values()]
        for watcher in watchers + ([] if twin_views is None else [twin_views]):
            for handle in watcher.handles:
                handle.remove()
        kept = [_kept_bytes(model, _noise(config, number)) for number in (images, 2 * images)]
    held = [*model.state_dict().values(), *_tensors(wrapper.optimizer.state)]
    losses = tuple(name for name in logged if "loss" in name and name != "loss")
    return TrainingStep(
        views=views.per_image(images),
        twin_views={} if twin_views is None else twin_views.per_image(images),
        parts={name: one.widths() for name, one in parts.items() if one.rows},
        losses=losses or ("loss",),
        backbone=_size(model.backbone),
        trained=sum(one.numel() for one in model.parameters() if one.requires_grad),
        twin=0 if model.twin is None else _size(model.twin),
        twin_momentum=_momenta(model),
        memories=_memories(model),
        flops=counter.get_total_flops() / images,
        kept=(kept[1] - kept[0]) / images,
        state=sum(one.numel() * one.element_size() for one in held if isinstance(one, Tensor)),
    )


def _built(config: Config) -> BaseAlgorithm:
    model = MODELS.build(config.model)
    if not isinstance(model, BaseAlgorithm):
        raise ValueError(
            f"{type(model).__name__} is no self-supervised method: a recipe of configs/<method>/ is."
        )
    make_norms_local(model)
    model = revert_sync_batchnorm(model)
    model.init_weights()
    model.train()
    for memory in model.modules():
        if isinstance(memory, EpochMemory):
            _cluster(memory)
    epochs = int(config.train_cfg.get("max_epochs", 1))
    model.progress = Progress(0, 1000 * epochs, 0, epochs)
    return model


def _cluster(memory: EpochMemory) -> None:
    """Put all images into the first cluster of each head: a hook would have found some."""
    none = torch.zeros(0)
    all_first = torch.zeros(memory.num_samples, dtype=torch.int32)
    memory.load([SphericalClusters(none, all_first, none, 0.0)] * len(memory.assignment), epoch=0)


def _noise(config: Config, images: int) -> dict[str, Any]:
    """A batch of the recipe's views of images of noise."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder) / f"{number}.png") for number in range(images)]
        for path in paths:
            Image.fromarray(rng.integers(0, 256, (_SIDE, _SIDE, 3), dtype=np.uint8)).save(path)
        views = config.train_dataloader.dataset.views
        dataset = ImageDataset(
            "", paths, labels=[0] * images, classes=None, views=views, seed=0, max_bad_ratio=0.0
        )
        return default_collate([dataset[position] for position in range(images)])


class _Views:
    """Counts the images that a backbone sees, at whichever of its methods they enter."""

    def __init__(self, backbone: nn.Module) -> None:
        self.sides: Counter[int] = Counter()
        self.first: nn.Module | None = None
        self.handles = [one.register_forward_pre_hook(self) for one in _leaves(backbone)]

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        images = inputs[0] if inputs else None
        if isinstance(images, Tensor) and images.dim() == 4 and images.shape[1] == 3:
            self.first = self.first or module
            if module is self.first:
                self.sides[images.shape[-1]] += len(images)

    def per_image(self, images: int) -> dict[int, float]:
        """Side -> views of that side per image, the largest first."""
        return {side: number / images for side, number in sorted(self.sides.items(), reverse=True)}


class _Widths:
    """What the layers with weights of a part put out, in the order in which they first run.

    Layers whose weight is used without a call (prototypes, classes) are the last, with a row for each output.
    """

    def __init__(self, part: nn.Module) -> None:
        self.rows = {
            one: max(weights, key=lambda weight: weight.numel()).shape[0]
            for one in _leaves(part)
            if (weights := [weight for weight in one.parameters() if weight.dim() > 1])
        }
        self.run: dict[nn.Module, int] = {}
        self.handles = [one.register_forward_hook(self) for one in self.rows]

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            axis = 1 if isinstance(module, nn.modules.conv._ConvNd) else -1
            self.run.setdefault(module, output.shape[axis])

    def widths(self) -> tuple[int, ...]:
        """One for each layer."""
        return tuple((self.run | (self.rows | self.run)).values())


def _leaves(module: nn.Module) -> list[nn.Module]:
    return [one for one in module.modules() if not any(one.children())]


def _kept_bytes(model: BaseAlgorithm, batch: dict[str, Any]) -> int:
    """Bytes of what autograd keeps in a forward pass, weights and memories of the model left out."""
    own = {one.untyped_storage().data_ptr() for one in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # the tensor itself would hold the graph that holds it

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        losses = model(**model.data_preprocessor(batch, True), mode="loss")
    del losses  # until here nothing was freed, so that no two of them had one address
    return sum(kept.values())


def _size(module: nn.Module) -> int:
    return sum(one.numel() for one in module.parameters())


def _momenta(model: BaseAlgorithm) -> tuple[float, ...]:
    if model.twin is None or model.progress is None:
        return ()
    steps = model.progress.max_iters
    return tuple(model.twin.momentum(step, steps) for step in (0, steps))


def _memories(model: BaseAlgorithm) -> dict[str, tuple[int, ...]]:
    """What a checkpoint holds beside parameters, and is more than a number or a row of a few."""
    parameters = dict(model.named_parameters())
    networks = ("backbone.", "twin.")
    return {
        name: tuple(one.shape)
        for name, one in model.state_dict().items()
        if name not in parameters and not name.startswith(networks)
        if isinstance(one, Tensor) and one.dim() > 1 and math.prod(one.shape) > _FEW
    }


def _tensors(node: Any) -> Iterator[Tensor]:
    if isinstance(node, Tensor):
        yield node
    elif isinstance(node, dict):
        for value in node.values():
            yield from _tensors(value)
