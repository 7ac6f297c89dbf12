"""Stem and first stages of a network `conv1`, `bn1`, `layer1`, ... without training."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def check_frozen_stages(frozen_stages: int, out_indices: Sequence[int]) -> None:
    """Raise for a number of stages that the network does not have.

    Args:
        frozen_stages: As in `frozen_parts`.
        out_indices: Stages whose maps are returned; later ones than the last are not built.

    Raises:
        ValueError: It does not lie between -1 and the number of stages.
    """
    num_stages = out_indices[-1] + 1
    if not -1 <= frozen_stages <= num_stages:
        raise ValueError(
            f"frozen_stages must lie between -1 and {num_stages} (the stages that are built for "
            f"out_indices={tuple(out_indices)}), got {frozen_stages}."
        )


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
