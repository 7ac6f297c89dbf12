"""ResumeStateHook: puts into a checkpoint what exact resume needs, as tensors and plain containers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from torch import Tensor
from torch.utils.data import DataLoader

from mmssl.models.algorithms.base import BaseAlgorithm, bare_model
from mmssl.ops.collectives import reduce_mean
from mmssl.registry import HOOKS

_SCALARS = "log_scalars"


@HOOKS.register_module()
class ResumeStateHook(Hook):
    """Complete checkpoints for exact resume, loadable with `weights_only=True`.

    before_save_checkpoint  add gradients of an unfinished accumulation, whether a loss in it was not
                            finite, the length of an epoch and settings of the sampler; turn the log
                            history (mmengine pickles its classes) into tensors
    after_load_checkpoint   turn them back
    before_train            restore the unfinished accumulation

    `Runner` registers it in every run.
    """

    priority = "VERY_LOW"
    _gradients: dict[str, Tensor] | None = None
    _dropped = False

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Make the checkpoint complete and plain."""
        checkpoint["meta"]["iters_per_epoch"] = len(runner.train_dataloader)
        checkpoint["meta"]["max_iters"] = runner.max_iters
        checkpoint["meta"]["world_size"] = runner.world_size
        model = bare_model(runner.model)
        if isinstance(model, BaseAlgorithm):
            checkpoint["meta"]["published_branch"] = model.published_branch
        settings = order_settings(runner.train_dataloader)
        if settings is not None:
            checkpoint["meta"]["sampler"] = settings
        checkpoint["gradients"] = runner.pending_gradients
        checkpoint["dropped"] = getattr(runner.optim_wrapper, "dropped", False)
        hub = checkpoint["message_hub"]
        hub[_SCALARS] = {key: _pack(buffer) for key, buffer in hub[_SCALARS].items()}
        hub["runtime_info"] = dict(hub["runtime_info"])
        checkpoint.update(_plain(checkpoint))

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Rebuild mmengine's log history; files of plain mmengine are left as they are."""
        self._gradients = checkpoint.get("gradients")
        self._dropped = checkpoint.get("dropped", False)
        hub = checkpoint.get("message_hub")
        if hub is not None:
            hub[_SCALARS] = {key: _unpack(value) for key, value in hub[_SCALARS].items()}

    def before_train(self, runner) -> None:
        """Give every parameter back the gradient it had accumulated, or drop the batch as before."""
        if self._dropped and runner.iter > 0:
            runner.optim_wrapper.dropped = True
        if self._gradients and runner.iter > 0:
            model = bare_model(runner.model)
            for name, parameter in model.named_parameters():
                if name in self._gradients:
                    parameter.grad = self._gradients[name].to(parameter.device)
        self._gradients = None


def order_settings(loader: DataLoader) -> dict[str, Any] | None:
    """What the order of a loader's images depends on besides seed and epoch; `None` if its sampler is silent.

    Args:
        loader: Of the training images.
    """
    settings = getattr(loader.sampler, "settings", None)
    return None if settings is None else settings()


def pending_gradients(model: torch.nn.Module, steps_next: bool) -> dict[str, Tensor]:
    """Gradients that wait for further batches of an accumulation, averaged over the ranks.

    Args:
        model: The module without wrapper.
        steps_next: The last iteration ended with an optimizer step, so nothing waits.
    """
    if steps_next:
        return {}
    return {
        name: reduce_mean(parameter.grad).cpu()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


def _pack(buffer: HistoryBuffer) -> dict[str, Any]:
    values, counts = buffer.data
    return dict(
        values=torch.from_numpy(np.asarray(values, dtype=np.float64)),
        counts=torch.from_numpy(np.asarray(counts, dtype=np.int64)),
        max_length=buffer.max_length,
    )


def _unpack(packed: dict[str, Any] | HistoryBuffer) -> HistoryBuffer:
    if isinstance(packed, HistoryBuffer):
        return packed
    return HistoryBuffer(
        packed["values"].cpu().numpy(), packed["counts"].cpu().numpy(), packed["max_length"]
    )


def _plain(value: Any) -> Any:
    """`value` with NumPy numbers, arrays and subclasses of containers replaced by plain ones."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, tuple):
        return tuple(_plain(item) for item in value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    return value
