"""The local relation operator by shifting maps: for each tap of the window, two passes over whole maps.

No window is ever copied: the first pass finds the largest logit of each window, the second computes the
logits again and adds the weighted values. The backward pass computes them a third time. Maps are laid out
with the positions outermost and images and groups innermost, (C / G, H, W, N G), so that every shifted map
consists of long runs of memory, also where it is 7x7.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmssl.ops.local_relation.relation import Gradients, Relation, sum_type
from mmssl.ops.local_relation.similarity import similarity as similarity_of
from mmssl.ops.local_relation.similarity import similarity_slopes
from mmssl.ops.local_relation.taps import Tap, window_taps
from mmssl.ops.propagation import image_chunks

MAX_VALUES = 2**20
"""Numbers of the values' map that are worked on together: what stays in a processor's cache."""
_FLOORS = {torch.float32: -60.0, torch.float64: -600.0}


def _exp(logits: Tensor) -> Tensor:
    """In place, of logits below the largest of their window.

    Weights that no sum can tell from zero are kept from becoming denormal numbers, with which processors
    are tens of times slower; those of taps outside of the map mostly would.
    """
    return logits.clamp_(min=_FLOORS[logits.dtype]).exp_()


def _positions_first(feats: Tensor, groups: int, dtype: torch.dtype) -> Tensor:
    """(n, C, H, W) -> (C / G, H, W, n G), a copy."""
    split = feats.unflatten(1, (groups, -1)).permute(2, 3, 4, 0, 1)
    return torch.empty(split.shape, dtype=dtype, device=feats.device).copy_(split).flatten(3)


def _into(feats: Tensor, laid_out: Tensor, groups: int) -> None:
    """Write (C / G, H, W, n G) into `feats` (n, C, H, W)."""
    split = feats.unflatten(1, (groups, -1))
    split.copy_(laid_out.unflatten(3, (-1, groups)).permute(3, 4, 0, 1, 2))


class _Logits:
    """Logits of the windows of some images, one tap at a time.

    Args:
        query: (e, Ho, Wo, n G).
        key: (e, H, W, n G).
        saliency: (1, H, W, n G) or None.
        position_weight: (taps, n G).
        relation: See `Relation`.
    """

    def __init__(
        self,
        query: Tensor,
        key: Tensor,
        saliency: Tensor | None,
        position_weight: Tensor,
        relation: Relation,
    ) -> None:
        self.query, self.key, self.saliency = query, key, saliency
        self.position_weight, self.relation = position_weight, relation

    def seen(self, tap: Tap) -> Tensor:
        """(h, w, n G) logits of the outputs `tap.here`."""
        alike = similarity_of(self.relation.similarity, self.query[tap.here], self.key[tap.there])
        total = alike.sum(0) if alike.shape[0] > 1 else alike[0]
        if self.saliency is not None:
            total = total + self.saliency[tap.there][0]
        return torch.add(self.position_weight[tap.number], total, alpha=self.relation.scale)

    def unseen(self, tap: Tap) -> Tensor:
        """(n G) logits of the outputs `tap.missing`."""
        return self.position_weight[tap.number] + self.relation.outside


def _peak(logits: _Logits, taps: list[Tap]) -> Tensor:
    """(Ho, Wo, n G) the largest logit of each window."""
    peak = torch.full_like(logits.query[0], -torch.inf)
    for tap in taps:
        torch.maximum(peak[tap.here], logits.seen(tap), out=peak[tap.here])
        for box in tap.missing:
            torch.maximum(peak[box], logits.unseen(tap), out=peak[box])
    return peak


def _aggregate(logits: _Logits, values: Tensor, taps: list[Tap]) -> tuple[Tensor, Tensor]:
    """Weighted sums (m, Ho, Wo, n G) of `values` (m, H, W, n G), and log-sum-exp (1, Ho, Wo, n G)."""
    peak = _peak(logits, taps)
    total = torch.zeros_like(peak)
    out = values.new_zeros((len(values), *peak.shape))
    for tap in taps:
        weights = _exp(logits.seen(tap).sub_(peak[tap.here]))
        total[tap.here] += weights
        out[tap.here].addcmul_(weights, values[tap.there])
        for box in tap.missing:
            total[box] += _exp(logits.unseen(tap) - peak[box])
    return out.div_(total), total.log_().add_(peak)[None]


def _dot(left: Tensor, right: Tensor) -> Tensor:
    """(m, ...) and (m, ...) to (...): products summed without a map of all of them."""
    total = left[0] * right[0]
    for one, other in zip(left[1:], right[1:], strict=True):
        total.addcmul_(one, other)
    return total


def _spread(
    logits: _Logits,
    values: Tensor,
    grad: Tensor,
    log_total: Tensor,
    mean: Tensor,
    taps: list[Tap],
    into: Gradients,
) -> None:
    """Add the gradients of all inputs.

    With a the weights and y the output, dl = a (<grad, v> - <grad, y>) is the gradient of a logit.

    Args:
        logits: Those of the forward pass.
        values: (m, H, W, n G).
        grad: (m, Ho, Wo, n G) gradient of the output.
        log_total: (Ho, Wo, n G) log-sum-exp of the windows.
        mean: (Ho, Wo, n G) products <grad, y>.
        taps: Of the window.
        into: Where the gradients are added.
    """
    relation = logits.relation
    for tap in taps:
        here, there = tap.here, tap.there
        weights = _exp(logits.seen(tap).sub_(log_total[here]))
        into.value[there].addcmul_(weights, grad[here])
        slope = _dot(grad[here], values[there]).sub_(mean[here]).mul_(weights)
        into.position_weight[tap.number] += slope.sum((0, 1))
        for box in tap.missing:
            lost = _exp(logits.unseen(tap) - log_total[box]).mul_(mean[box])
            into.position_weight[tap.number] -= lost.sum((0, 1))
        slope = slope.mul_(relation.scale)
        by_query, by_key = similarity_slopes(
            relation.similarity, logits.query[here], logits.key[there]
        )
        into.query[here].addcmul_(slope, by_query)
        into.key[there].addcmul_(slope, by_key)
        if logits.saliency is not None:
            into.saliency[there] += slope


def _chunks(value: Tensor) -> list[slice]:
    return list(image_chunks(value.shape[0], value[:1].numel(), MAX_VALUES))


def _logits_of(
    part: slice,
    query: Tensor,
    key: Tensor,
    saliency: Tensor | None,
    position_weight: Tensor,
    relation: Relation,
    dtype: torch.dtype,
) -> _Logits:
    queries = _positions_first(query[part], relation.groups, dtype)
    weights = position_weight.to(dtype).flatten(1).t().repeat(1, query[part].shape[0])
    return _Logits(
        queries,
        _positions_first(key[part], relation.groups, dtype),
        None if saliency is None else _positions_first(saliency[part], relation.groups, dtype),
        weights,
        relation,
    )


def forward_shifted(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    position_weight: Tensor,
    saliency: Tensor | None,
    relation: Relation,
    out: Tensor,
    log_total: Tensor,
) -> None:
    """Write the result and the log-sum-exp of every window.

    Args:
        query: (N, G e, Ho, Wo).
        key: (N, G e, H, W).
        value: (N, G m, H, W).
        position_weight: (G, kh, kw).
        saliency: (N, G, H, W) what is added to the summed similarity of a tap, or None.
        relation: See `Relation`.
        out: (N, G m, Ho, Wo) for the result.
        log_total: (N, G, Ho, Wo) for the log-sum-exp.
    """
    dtype = sum_type(query, key, value, position_weight)
    taps = _taps(query, key, relation)
    for part in _chunks(value):
        logits = _logits_of(part, query, key, saliency, position_weight, relation, dtype)
        values = _positions_first(value[part], relation.groups, dtype)
        sums, totals = _aggregate(logits, values, taps)
        _into(out[part], sums, relation.groups)
        _into(log_total[part], totals, relation.groups)


def _taps(query: Tensor, key: Tensor, relation: Relation) -> list[Tap]:
    size, size_out = (key.shape[2], key.shape[3]), (query.shape[2], query.shape[3])
    return window_taps(relation.kernel_size, size, size_out, relation.stride, relation.dilation)


def backward_shifted(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    position_weight: Tensor,
    saliency: Tensor | None,
    out: Tensor,
    log_total: Tensor,
    relation: Relation,
    into: Gradients,
) -> None:
    """Write the gradients of all inputs.

    Args:
        grad: (N, G m, Ho, Wo) gradient of the result.
        query: As in the forward pass, like all up to `saliency`.
        key: See above.
        value: See above.
        position_weight: See above.
        saliency: See above.
        out: The result of the forward pass.
        log_total: Its log-sum-exp.
        relation: See `Relation`.
        into: Gradients to write, in the shapes of the inputs; `saliency` may be empty.
    """
    dtype, groups = sum_type(query, key, value, position_weight), relation.groups
    taps = _taps(query, key, relation)
    by_position = position_weight.new_zeros((len(taps), groups), dtype=dtype)
    for part in _chunks(value):
        logits = _logits_of(part, query, key, saliency, position_weight, relation, dtype)
        values = _positions_first(value[part], groups, dtype)
        grads = _positions_first(grad[part], groups, dtype)
        mean = _dot(grads, _positions_first(out[part], groups, dtype))
        totals = _positions_first(log_total[part], groups, dtype)[0]
        sums = Gradients(
            torch.zeros_like(logits.query),
            torch.zeros_like(logits.key),
            torch.zeros_like(values),
            torch.zeros_like(values[:1]) if saliency is not None else values.new_zeros(0),
            torch.zeros_like(logits.position_weight),
        )
        _spread(logits, values, grads, totals, mean, taps, sums)
        _into(into.query[part], sums.query, groups)
        _into(into.key[part], sums.key, groups)
        _into(into.value[part], sums.value, groups)
        if saliency is not None:
            _into(into.saliency[part], sums.saliency, groups)
        by_position += sums.position_weight.unflatten(1, (-1, groups)).sum(1)
    into.position_weight.copy_(by_position.t().view_as(into.position_weight))
