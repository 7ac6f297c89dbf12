"""Which rows enter and leave a selection."""

from __future__ import annotations

import pytest
import torch

from mmssl.models.memories.member_change import member_change


@pytest.mark.parametrize(
    "before, after",
    [([], []), ([], [3]), ([4, 6], []), ([1, 2, 9], [1, 2, 9]), ([0, 5, 8], [2, 5, 9, 11])],
)
def test_values_by_sets(before, after):
    change = member_change(torch.tensor(before).long(), torch.tensor(after).long())
    assert [before[place] for place in change.stay] == sorted(set(before) & set(after))
    assert [after[place] for place in change.kept] == sorted(set(before) & set(after))
    assert [before[place] for place in change.leave] == sorted(set(before) - set(after))
    assert [after[place] for place in change.enter] == sorted(set(after) - set(before))
