"""What the goldens of EsViT compare: features of crops of several sizes, in the order of the crops."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from mmssl.models.backbones import view_and_map
from tests.helpers.fill import fill, image
from tests.helpers.goldens import Golden

StateMap = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


def load_filled(network: nn.Module, to_official: StateMap, from_official: StateMap) -> None:
    """Give a network the weights of the goldens, through its converter both ways."""
    theirs = to_official(network.state_dict())
    filled = {key: fill(key, value.shape) for key, value in theirs.items()}
    network.load_state_dict(from_official(filled))


def crops(golden: Golden, dtype: torch.dtype) -> list[Tensor]:
    """The inputs of a case, those of one size joined."""
    groups: dict[int, list[Tensor]] = {}
    for name, shape in golden.entry["inputs"]:
        if shape:
            groups.setdefault(shape[-1], []).append(image(name, shape).to(dtype))
    return [torch.cat(group) for group in groups.values()]


def first_input(golden: Golden, dtype: torch.dtype) -> Tensor:
    name, shape = golden.entry["inputs"][0]
    return image(name, shape).to(dtype)


def views_and_regions(network: nn.Module, groups: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """(rows, C) of the views, (rows, C) of the regions, and the regions per view of each group."""
    pairs = [view_and_map(network, group) for group in groups]
    regions = [one.flatten(2).transpose(1, 2) for _, one in pairs]
    counts = torch.tensor([one.shape[1] for one in regions])
    return (
        torch.cat([view for view, _ in pairs]),
        torch.cat([one.flatten(0, 1) for one in regions]),
        counts,
    )


def check_views_and_regions(golden: Golden, network: nn.Module, dtype: torch.dtype) -> None:
    """Compare `pooled`, `region` and `npatch` of a case."""
    with torch.no_grad():
        views, regions, counts = views_and_regions(network, crops(golden, dtype))
    golden.check("pooled", views)
    golden.check("region", regions)
    golden.check("npatch", counts)
