"""The local relation operator by shifting maps: for each tap of the window, two passes over whole maps.

No window is ever copied: the first pass finds the largest logit of each window, the second computes the
logits again and adds the weighted values. The backward pass computes them a third time. Maps are laid out
with the positions outermost and images and groups innermost, (C / G, H, W, N G), so that every shifted map
consists of long runs of memory, also where it is 7x7.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mmssl.ops.local_relation.relation import Gradients, Relation, saliency_readers
from mmssl.ops.local_relation.similarity import similarity as similarity_of
from mmssl.ops.local_relation.similarity import similarity_slopes
from mmssl.ops.local_relation.taps import Tap, window_taps
from mmssl.ops.local_window import sum_type
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
        saliency: (1, H, W, n G) what is added to the summed similarity, or None.
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


class _Sums(NamedTuple):
    """Gradients as they are added up, in the layouts of `_Logits`; None where none is wanted."""

    query: Tensor | None
    key: Tensor | None
    value: Tensor | None
    saliency: Tensor | None
    position_weight: Tensor | None


def _zeros(logits: _Logits, values: Tensor, into: Gradients) -> _Sums:
    """Where the gradients are added that `into` asks for."""
    salient = into.key is not None and logits.saliency is not None
    return _Sums(
        torch.zeros_like(logits.query) if into.query is not None else None,
        torch.zeros_like(logits.key) if into.key is not None else None,
        torch.zeros_like(values) if into.value is not None else None,
        torch.zeros_like(values[:1]) if salient else None,
        torch.zeros_like(logits.position_weight) if into.position_weight is not None else None,
    )


def _spread_values(
    logits: _Logits, grad: Tensor, log_total: Tensor, taps: list[Tap], total: Tensor
) -> None:
    """Add the gradient of the values to `total` where no other is wanted."""
    for tap in taps:
        weights = _exp(logits.seen(tap).sub_(log_total[tap.here]))
        total[tap.there].addcmul_(weights, grad[tap.here])


def _spread(
    logits: _Logits,
    values: Tensor,
    grad: Tensor,
    log_total: Tensor,
    mean: Tensor,
    taps: list[Tap],
    into: _Sums,
) -> None:
    """Add the gradients that are wanted.

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
        if into.value is not None:
            into.value[there].addcmul_(weights, grad[here])
        slope = _dot(grad[here], values[there]).sub_(mean[here]).mul_(weights)
        if into.position_weight is not None:
            into.position_weight[tap.number] += slope.sum((0, 1))
            for box in tap.missing:
                lost = _exp(logits.unseen(tap) - log_total[box]).mul_(mean[box])
                into.position_weight[tap.number] -= lost.sum((0, 1))
        if into.query is None and into.key is None:
            continue
        slope = slope.mul_(relation.scale)
        by_query, by_key = similarity_slopes(
            relation.similarity, logits.query[here], logits.key[there]
        )
        if into.query is not None:
            into.query[here].addcmul_(slope, by_query)
        if into.key is not None:
            into.key[there].addcmul_(slope, by_key)
        if into.saliency is not None:
            into.saliency[there] += slope


def _chunks(value: Tensor) -> list[slice]:
    return list(image_chunks(value.shape[0], value[:1].numel(), MAX_VALUES))


def _logits_of(
    part: slice,
    query: Tensor,
    key: Tensor,
    position_weight: Tensor,
    relation: Relation,
    dtype: torch.dtype,
) -> _Logits:
    groups, channels = relation.groups, query.shape[1]
    extra, saliency = key.shape[1] - channels, None
    if extra:
        chosen = [channels + group * extra // groups for group in range(groups)]
        saliency = _positions_first(key[part, chosen], groups, dtype).mul_(channels // groups)
    return _Logits(
        _positions_first(query[part], groups, dtype),
        _positions_first(key[part, :channels], groups, dtype),
        saliency,
        position_weight.to(dtype).flatten(1).t().repeat(1, query[part].shape[0]),
        relation,
    )


def forward_shifted(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    position_weight: Tensor,
    relation: Relation,
    out: Tensor,
    log_total: Tensor,
) -> None:
    """Write the result and the log-sum-exp of every window.

    Args:
        query: (N, G e, Ho, Wo).
        key: (N, G e + extra, H, W), the extra channels a saliency.
        value: (N, G m, H, W).
        position_weight: (G, kh, kw).
        relation: See `Relation`.
        out: (N, G m, Ho, Wo) for the result.
        log_total: (N, G, Ho, Wo) for the log-sum-exp.
    """
    dtype = sum_type(query, key, value, position_weight)
    taps = _taps(query, key, relation)
    for part in _chunks(value):
        logits = _logits_of(part, query, key, position_weight, relation, dtype)
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
    out: Tensor,
    log_total: Tensor,
    relation: Relation,
    into: Gradients,
) -> None:
    """Write the gradients that are wanted.

    Args:
        grad: (N, G m, Ho, Wo) gradient of the result.
        query: As in the forward pass, like all up to `position_weight`.
        key: See above.
        value: See above.
        position_weight: See above.
        out: The result of the forward pass.
        log_total: Its log-sum-exp.
        relation: See `Relation`.
        into: Gradients to write.
    """
    dtype, groups = sum_type(query, key, value, position_weight), relation.groups
    taps = _taps(query, key, relation)
    by_position = position_weight.new_zeros((len(taps), groups), dtype=dtype)
    for part in _chunks(value):
        logits = _logits_of(part, query, key, position_weight, relation, dtype)
        values = _positions_first(value[part], groups, dtype)
        grads = _positions_first(grad[part], groups, dtype)
        totals = _positions_first(log_total[part], groups, dtype)[0]
        sums = _zeros(logits, values, into)
        if into.any_of_logits():
            mean = _dot(grads, _positions_first(out[part], groups, dtype))
            _spread(logits, values, grads, totals, mean, taps, sums)
        elif sums.value is not None:
            _spread_values(logits, grads, totals, taps, sums.value)
        if into.query is not None and sums.query is not None:
            _into(into.query[part], sums.query, groups)
        if into.value is not None and sums.value is not None:
            _into(into.value[part], sums.value, groups)
        if into.key is not None:
            _write_keys(into.key[part], sums, query.shape[1], groups)
        if sums.position_weight is not None:
            by_position += sums.position_weight.unflatten(1, (-1, groups)).sum(1)
    if into.position_weight is not None:
        into.position_weight.copy_(by_position.t().view_as(into.position_weight))


def _write_keys(key: Tensor, sums: _Sums, channels: int, groups: int) -> None:
    """Write the gradient of keys (n, Ck, H, W), of which `channels` are no saliency."""
    if sums.key is not None:
        _into(key[:, :channels], sums.key, groups)
    if sums.saliency is not None:
        # a saliency counts once for each channel of its group
        by_group = sums.saliency[0].mul_(channels // groups).unflatten(2, (-1, groups))
        readers = saliency_readers(groups, key.shape[1] - channels)
        for channel, those in enumerate(readers, channels):
            key[:, channel] = by_group[..., those].sum(3).permute(2, 0, 1)
