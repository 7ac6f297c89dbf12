"""Stem and first stages of a network `conv1`, `bn1`, `layer1`, ... without training."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def frozen_parts(network: nn.Module, frozen_stages: int) -> list[nn.Module]:
    """The modules that `frozen_stages` names: -1 none, 0 the stem, n the stem and stages 1..n.

    Args:
        network: With children `conv1`, `bn1`, `layer1`, ...
        frozen_stages: Not more than there are stages.
    """
    if frozen_stages < 0:
        return []
    names = ["conv1", "bn1"] + [f"layer{stage + 1}" for stage in range(frozen_stages)]
    return [network.get_submodule(name) for name in names]


def hold_in_eval(network: nn.Module, *, frozen_stages: int, norm_eval: bool) -> None:
    """Put back into eval mode what does not train.

    Args:
        network: In train mode.
        frozen_stages: As in `frozen_parts`.
        norm_eval: Whether every BatchNorm is in eval mode.
    """
    held = frozen_parts(network, frozen_stages)
    if norm_eval:
        held += [module for module in network.modules() if isinstance(module, _BatchNorm)]
    for module in held:
        module.eval()
