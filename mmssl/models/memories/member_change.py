"""Which rows enter and leave a sorted selection of rows."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class MemberChange(NamedTuple):
    """The way from one selection to another, all places ascending.

    Attributes:
        stay: (s,) places in the old selection of rows that stay.
        kept: (s,) their places in the new one.
        leave: (l,) places in the old selection of rows that are not in the new one.
        enter: (e,) places in the new selection of rows that were not in the old one.
    """

    stay: Tensor
    kept: Tensor
    leave: Tensor
    enter: Tensor


def member_change(before: Tensor, after: Tensor) -> MemberChange:
    """Compare two selections; all that asks a GPU for a number of rows happens here, once each.

    Args:
        before: (n,) int64 distinct rows, ascending.
        after: (m,) the same of the new selection.

    Example:
        >>> change = member_change(torch.tensor([2, 5, 7]), torch.tensor([1, 5, 7, 9]))
        >>> [places.tolist() for places in change]
        [[1, 2], [1, 2], [0], [0, 3]]
    """
    if not len(after):
        everything = torch.arange(len(before), device=before.device)
        return MemberChange(before[:0], before[:0], everything, before[:0])
    place = torch.searchsorted(after, before).clamp_(max=len(after) - 1)
    stays = after[place] == before
    stay, leave = stays.nonzero().flatten(), (~stays).nonzero().flatten()
    kept = place[stay]
    is_new = torch.ones(len(after), dtype=torch.bool, device=after.device)
    is_new[kept] = False
    return MemberChange(stay, kept, leave, is_new.nonzero().flatten())
