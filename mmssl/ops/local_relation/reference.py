"""The local relation operator as its formula, in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

from mmssl.ops.local_relation.relation import Relation
from mmssl.ops.local_relation.similarity import similarity as similarity_of
from mmssl.ops.local_window import sum_type


def _places(size_out: int, kernel: int, stride: int, dilation: int, device: torch.device) -> Tensor:
    """(kernel, size_out) rows (or columns) of the map that the taps of each output see; may lie outside."""
    first = torch.arange(size_out, device=device) * stride
    offset = dilation * (torch.arange(kernel, device=device) - kernel // 2)
    return offset[:, None] + first


def local_relation_reference(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    position_weight: Tensor,
    relation: Relation,
) -> Tensor:
    """`local_relation` with every tap of every window in memory, differentiable any number of times.

    Formula and arguments stand in `mmssl.ops.local_relation.local_relation`; here they are checked.
    Sums are in float32 at least.

    Args:
        query: (N, Cq, Ho, Wo).
        key: (N, Ck, H, W).
        value: (N, Cv, H, W).
        position_weight: (G, kh, kw).
        relation: The options.

    Returns:
        (N, Cv, Ho, Wo) in the type of `value`.
    """
    kernel_size, groups, stride, dilation, scale, outside, similarity = relation
    query_channels, *out_size = query.shape[1:]
    *_, height, width = key.shape
    dtype = sum_type(query, key, value, position_weight)
    rows = _places(out_size[0], kernel_size[0], stride[0], dilation[0], key.device)
    columns = _places(out_size[1], kernel_size[1], stride[1], dilation[1], key.device)
    in_rows, in_columns = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    inside = in_rows[:, None, :, None] & in_columns[:, None]  # (kh, kw, Ho, Wo)
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)

    def taps(feats: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, G, C / G, kh, kw, Ho, Wo): what each tap of each output sees."""
        seen = feats.to(dtype)[:, :, rows[:, None, :, None], columns[:, None]]
        return seen.unflatten(1, (groups, -1))

    queries = query.to(dtype).unflatten(1, (groups, -1))[:, :, :, None, None]
    keys = taps(key[:, :query_channels])
    total = similarity_of(similarity, queries, keys).sum(2)
    extra = key.shape[1] - query_channels
    if extra:
        # the saliency of a tap counts once for each channel of its group
        chosen = torch.arange(groups, device=key.device) * extra // groups
        total = total + queries.shape[2] * taps(key[:, query_channels + chosen])[:, :, 0]
    logits = (
        torch.where(inside, scale * total, outside) + position_weight.to(dtype)[..., None, None]
    )
    weights = logits.flatten(2, 3).softmax(2).view_as(logits)
    out = (weights[:, :, None] * torch.where(inside, taps(value), 0)).sum((3, 4))
    return out.flatten(1, 2).to(value.dtype)
