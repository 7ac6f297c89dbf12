"""How well the selection of negatives finds the false ones, given the true classes.

HCSC: Hierarchical Contrastive Selective Coding (CVPR 2022, arXiv 2202.00455), section 4; compared with
`utils.mining_metrics` of hirl-team/HCSC @cec852d. Deviation: pairs with an image of unknown class, which the
queue holds until it was filled once, are left out, and undefined shares are None.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

# As the authors divide; it keeps the shares of nothing at 0.
EPS = 1e-10


class MiningMetrics(NamedTuple):
    """Shares in [0, 1] of pairs (query, candidate negative); "same" is of the query's class.

    Attributes:
        positive_recall: Removed among the same, None if there are none.
        positive_precision: The same among the removed, None if there are no same.
        negative_recall: Kept among the others.
        negative_precision: Others among the kept.
    """

    positive_recall: float | None
    positive_precision: float | None
    negative_recall: float
    negative_precision: float


class MiningCounts(NamedTuple):
    """Numbers of pairs by their true relation and by what was decided; batches add up with `plus`.

    Of probabilities these are the numbers that are expected.

    Attributes:
        same_removed: False negatives that were found.
        same_kept: False negatives that stayed.
        other_removed: True negatives that were lost.
        other_kept: True negatives that stayed.
    """

    same_removed: float
    same_kept: float
    other_removed: float
    other_kept: float

    def plus(self, other: MiningCounts) -> MiningCounts:
        """Counts of both sets of pairs.

        Args:
            other: Counts of more pairs.
        """
        return MiningCounts(*(a + b for a, b in zip(self, other, strict=True)))

    def metrics(self) -> MiningMetrics:
        """Recall and precision of what was removed and of what was kept."""
        same = self.same_removed + self.same_kept
        others = self.other_removed + self.other_kept
        removed = self.same_removed + self.other_removed
        kept = self.same_kept + self.other_kept
        return MiningMetrics(
            positive_recall=self.same_removed / (same + EPS) if same else None,
            positive_precision=self.same_removed / (removed + EPS) if same else None,
            negative_recall=self.other_kept / (others + EPS),
            negative_precision=self.other_kept / (kept + EPS),
        )


def mining_counts(query_labels: Tensor, key_labels: Tensor, kept: Tensor) -> MiningCounts:
    """Count pairs of queries and candidate negatives.

    Args:
        query_labels: (N,) int64 classes of the queries; below 0 where unknown.
        key_labels: (K,) int64 classes of the candidate negatives; below 0 where unknown.
        kept: (N, K) bool, or 0 and 1: true where the candidate stays a negative of the query; or the
            probability that it stays.

    Raises:
        ValueError: Shapes that do not fit.

    Example:
        >>> import torch
        >>> labels, kept = torch.tensor([0, 1]), torch.tensor([[False, True], [True, True]])
        >>> mining_counts(labels, labels, kept)
        MiningCounts(same_removed=1.0, same_kept=1.0, other_removed=0.0, other_kept=2.0)
    """
    if kept.shape != (*query_labels.shape, *key_labels.shape):
        raise ValueError(
            f"Expected a mask ({len(query_labels)}, {len(key_labels)}) for {len(query_labels)} queries and "
            f"{len(key_labels)} candidates, got {tuple(kept.shape)}."
        )
    kept = kept.double()
    known = (query_labels[:, None] >= 0) & (key_labels >= 0)
    same = (query_labels[:, None] == key_labels) & known
    other = known & ~same
    same_kept, other_kept = float(kept[same].sum()), float(kept[other].sum())
    return MiningCounts(
        same_removed=int(same.sum()) - same_kept,
        same_kept=same_kept,
        other_removed=int(other.sum()) - other_kept,
        other_kept=other_kept,
    )
