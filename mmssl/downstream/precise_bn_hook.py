"""Batch-norm statistics measured with fixed weights before they are used.

The running statistics of batch norm trail the weights, all the more with few images per step.
Self-supervised detection results are therefore measured with statistics recomputed over some 200
training batches ("precise BN" in detectron2 and fvcore, which average the batch means and the
batch variances, as is done here).
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmssl.models.algorithms.base import bare_model
from mmssl.ops.collectives import reduce_mean
from mmssl.registry import HOOKS


@contextmanager
def untouched_random_state() -> Iterator[None]:
    """Give torch, numpy and python their random state back at the end."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


def estimate_norm_statistics(
    model: nn.Module, batches: Iterable, step: Callable[[Any], Any]
) -> int:
    """Replace running statistics by averages over `batches`, with weights fixed.

    Layers in eval mode (frozen statistics) are left alone, and so is a layer that no batch reached.

    Args:
        model: Module in training mode.
        batches: What `step` is called with.
        step: Runs the model on one batch.

    Returns:
        The number of layers that were updated.
    """
    layers = [
        layer
        for layer in model.modules()
        if isinstance(layer, _BatchNorm) and layer.training and layer.track_running_stats
    ]
    sums: dict[nn.Module, tuple[Tensor | float, Tensor | float, int]] = {}

    def collect(layer: nn.Module, *_) -> None:
        mean, var, calls = sums.get(layer, (0.0, 0.0, 0))
        sums[layer] = (mean + layer.running_mean, var + layer.running_var, calls + 1)

    momenta = [layer.momentum for layer in layers]
    counters = [layer.num_batches_tracked.clone() for layer in layers]
    handles = [layer.register_forward_hook(collect) for layer in layers]
    try:
        for layer in layers:
            layer.momentum = 1.0  # the running statistics become those of the last batch
        with torch.no_grad():
            for batch in batches:
                step(batch)
    finally:
        for layer, momentum, counter, handle in zip(
            layers, momenta, counters, handles, strict=True
        ):
            layer.momentum = momentum
            layer.num_batches_tracked.copy_(counter)
            handle.remove()
    for layer in layers:  # every rank takes part for every layer, whatever its batches reached
        mean, var, calls = sums.get(layer, (layer.running_mean, layer.running_var, 1))
        layer.running_mean.copy_(reduce_mean(mean / calls))
        layer.running_var.copy_(reduce_mean(var / calls))
    return len(sums)


@HOOKS.register_module()
class PreciseBNHook(Hook):
    """Recompute batch-norm statistics from training batches before every evaluation.

    Call points (the checkpoint of the same moment holds the new statistics)::

        train iteration ... after_train_iter   <- here, loops that count iterations
                            after_train_epoch  <- here, loops that count epochs
                            checkpoint, validation

    It reads its batches with a loader of its own and restores the random state, so a run with this
    hook trains on the same batches as one without.

    Args:
        num_iters: Training batches per estimate.
    """

    priority = "LOW"  # before CheckpointHook (VERY_LOW)

    def __init__(self, num_iters: int = 200) -> None:
        if num_iters < 1:
            raise ValueError(f"num_iters must be at least 1, got {num_iters}.")
        self.num_iters = num_iters

    def before_train(self, runner: Runner) -> None:
        """Check that there is something to do."""
        if not any(
            isinstance(layer, _BatchNorm) and layer.track_running_stats
            for layer in runner.model.modules()
        ):
            raise ValueError(
                "PreciseBNHook found no batch norm with running statistics in the model. "
                "Remove the hook from custom_hooks."
            )

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Estimate when this iteration is followed by an evaluation, or is the last."""
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            return
        if self.is_last_train_iter(runner) or (
            runner.val_loop is not None and self.every_n_train_iters(runner, runner.val_interval)
        ):
            self._estimate(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Estimate when this epoch is followed by an evaluation, or is the last."""
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            return
        if self.is_last_train_epoch(runner) or (
            runner.val_loop is not None and self.every_n_epochs(runner, runner.val_interval)
        ):
            self._estimate(runner)

    def _estimate(self, runner: Runner) -> None:
        model = runner.model
        preprocess = bare_model(model).data_preprocessor

        def step(batch: dict) -> None:
            with runner.optim_wrapper.optim_context(model):
                model(**preprocess(batch, training=True), mode="loss")

        with untouched_random_state():
            count = estimate_norm_statistics(model, self._batches(runner), step)
        runner.logger.info(f"Precise BN: {count} layers over {self.num_iters} training batches.")

    def _batches(self, runner: Runner) -> Iterator:
        config = copy.deepcopy(runner.cfg.train_dataloader)
        config.persistent_workers = False
        # Restarting the loader of the training loop would drop the batches it has prepared. The
        # dataset is shared; the seed moves on with training.
        config.dataset = runner.train_dataloader.dataset
        loader = runner.build_dataloader(config, seed=(runner.seed or 0) + runner.iter + 1)
        done = 0
        while done < self.num_iters:
            for batch in loader:
                yield batch
                done += 1
                if done == self.num_iters:
                    return
