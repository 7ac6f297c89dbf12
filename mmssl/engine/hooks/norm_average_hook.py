"""NormAverageHook: statistics of BatchNorm that every process measured on its own images, averaged."""

from __future__ import annotations

from mmengine.hooks import Hook
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmssl.models.algorithms.base import bare_model
from mmssl.ops.collectives import reduce_mean, world_size
from mmssl.registry import HOOKS


@HOOKS.register_module()
class NormAverageHook(Hook):
    """Give all processes the mean of their running statistics at the end of each epoch.

    before_train            refuse a model without running statistics
    for each epoch
        iterations
        after_train_epoch   running means and variances, of averaged weights too, become the mean     <-
        checkpoint, validation

    Without SyncBN each process normalises by its own images, and the checkpoint holds the statistics of the
    first process alone. CoTNet's recipe averages them instead (JDAI-CV/CoTNet, timm's `distribute_bn`);
    weights are not touched. Nothing changes on a single process, or where SyncBN made them equal before.
    """

    priority = "LOW"  # after what counts steps, before CheckpointHook (VERY_LOW)

    def before_train(self, runner) -> None:
        """Check that there is something to average.

        Raises:
            ValueError: No BatchNorm with running statistics.
        """
        if not _tracking(bare_model(runner.model)):
            raise ValueError(
                "NormAverageHook found no BatchNorm with running statistics in the model. Remove it from "
                "custom_hooks."
            )

    def after_train_epoch(self, runner) -> None:
        """Average over the processes."""
        if world_size() == 1:
            return
        for norm in _tracking(bare_model(runner.model)):
            for statistic in (norm.running_mean, norm.running_var):
                statistic.copy_(reduce_mean(statistic))


def _tracking(model: nn.Module) -> list[_BatchNorm]:
    return [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    ]
