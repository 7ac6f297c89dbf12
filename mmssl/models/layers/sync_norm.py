"""BatchNorm over one process or over all, switched in a built model."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class LocalBatchNorm(_BatchNorm):
    """What a SyncBatchNorm is on one process: it takes vectors and maps alike."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass


def make_norms_local(model: nn.Module) -> int:
    """Turn the SyncBatchNorm layers of a model into BatchNorm with the statistics of each process.

    Layers change their class in place, and keep their tensors, hooks and place in the model. Building new
    ones, as mmengine and torch do, fails for a scale without a shift (`norm_layer` with `bias=False`).

    Args:
        model: Any module.

    Returns:
        The number of layers that changed.

    Example:
        >>> model = nn.Sequential(nn.SyncBatchNorm(4))
        >>> make_norms_local(model), model
        (1, Sequential(
          (0): LocalBatchNorm(4, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)
        ))
    """
    layers: list[nn.Module] = [
        layer for layer in model.modules() if isinstance(layer, nn.SyncBatchNorm)
    ]
    for layer in layers:
        layer.__class__ = LocalBatchNorm
    return len(layers)


def synchronise_norms(model: nn.Module) -> int:
    """Turn the BatchNorm layers of a model into SyncBatchNorm, over all processes.

    The reverse of `make_norms_local`, in place as well.

    Args:
        model: Any module.

    Returns:
        The number of layers that changed.
    """
    layers: list[nn.Module] = [
        layer
        for layer in model.modules()
        if isinstance(layer, _BatchNorm) and not isinstance(layer, nn.SyncBatchNorm)
    ]
    for layer in layers:
        layer.__class__ = nn.SyncBatchNorm
        vars(layer)["process_group"] = None  # all processes
    return len(layers)
