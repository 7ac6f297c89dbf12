"""Contrast of single locations of two views: which ones belong together, and their InfoNCE.

Dense Contrastive Learning for Self-Supervised Visual Pre-Training (DenseCL), 2021, arXiv 2011.09157,
sections 3.3 and 3.4.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from mmssl.losses.contrastive import info_nce
from mmssl.ops.precision import full_float32

Implementation = Literal["chunked", "reference"]


@torch.no_grad()
def best_cells(queries: Tensor, keys: Tensor) -> Tensor:
    """The key cell of greatest cosine for every query cell of the same image; of equal ones the first.

    Products are in float32 at least, also under autocast and where the run allows TF32: in less precision
    near ties change the choice. No gradient.

    Args:
        queries: (N, C, P) features of the P cells of a view.
        keys: (N, C, Q) features of the Q cells of another view of the same images.

    Returns:
        (N, P) int64 cells of `keys`.

    Raises:
        ValueError: Another number of images or channels.

    Example:
        >>> cells = torch.eye(3)[None]
        >>> best_cells(cells, cells.flip(2))
        tensor([[2, 1, 0]])
    """
    if queries.ndim != 3 or keys.ndim != 3 or queries.shape[:2] != keys.shape[:2]:
        raise ValueError(
            "Query and key cells must have shapes (N, C, P) and (N, C, Q), got "
            f"{tuple(queries.shape)} and {tuple(keys.shape)}."
        )
    dtype = torch.promote_types(queries.dtype, torch.float32)
    with full_float32(queries.device):
        q, k = (F.normalize(cells.to(dtype), dim=1) for cells in (queries, keys))
        return (q.transpose(1, 2) @ k).argmax(dim=2)


def chunked_info_nce(
    q: Tensor,
    k: Tensor,
    queue: Tensor,
    *,
    temperature: float,
    max_logits: int = 2**24,
    implementation: Implementation = "chunked",
) -> Tensor:
    """`info_nce` of many queries without holding their logits.

    49 cells of 32 images against 65,536 keys are 103 million logits, which with their gradients take
    0.8 GB. `chunked` takes some rows at a time and makes loss and gradients in the same pass: with
    s_i = exp(q_i.k_i / t), e_ij = exp(q_i.n_j / t) and z_i = s_i + sum_j e_ij

        loss = mean_i( log z_i - q_i.k_i / t )
        dq_i = ( sum_j e_ij n_j / z_i + (s_i / z_i - 1) k_i ) / (t M)
        dk_i = (s_i / z_i - 1) q_i / (t M)

    so the queue may be written to before the backward pass. Gradients cannot be differentiated again.

    Args:
        q: (M, D) queries, unit rows; they learn.
        k: (M, D) the key of each query, unit rows; they learn unless the caller detaches them.
        queue: (K, D) keys of other images, unit rows; without gradient.
        temperature: t.
        max_logits: Logits that `chunked` holds at a time; those of one query are the least.
        implementation: `chunked`, or `reference`, which is `info_nce`.

    Returns:
        Scalar, float32 or float64; 0 with an empty queue.

    Raises:
        ValueError: Shapes that do not fit, a queue with a gradient, a temperature that is not positive, or
            another implementation.

    Example:
        >>> unit = torch.tensor([[1.0, 0.0]])
        >>> chunked_info_nce(unit, unit, unit.repeat(3, 1), temperature=0.2)  # log 4
        tensor(1.3863)
    """
    if temperature <= 0:
        raise ValueError(f"The temperature must be positive, got {temperature}.")
    if implementation == "reference":
        return info_nce(q, k, queue, temperature=temperature)
    if implementation != "chunked":
        raise ValueError(f"implementation is 'chunked' or 'reference', got {implementation!r}.")
    if q.shape != k.shape or queue.ndim != 2 or queue.shape[1] != q.shape[1]:
        raise ValueError(
            "Queries and keys must both have shape (M, D) and the queue (K, D), got "
            f"{tuple(q.shape)}, {tuple(k.shape)} and {tuple(queue.shape)}."
        )
    if queue.requires_grad:
        raise ValueError(
            "The queue gets no gradient here; detach it, or use implementation='reference'."
        )
    dtype = torch.promote_types(q.dtype, torch.float32)
    with full_float32(q.device):
        return _Chunked.apply(q.to(dtype), k.to(dtype), queue.to(dtype), temperature, max_logits)


class _Chunked(torch.autograd.Function):
    """See `chunked_info_nce` for the formulas."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, queue: Tensor, temperature: float, max_logits: int
    ) -> Tensor:
        for_q, for_k = ctx.needs_input_grad[:2]
        dq = torch.empty_like(q) if for_q else None
        # of each row, the probability of its own key less one
        slope = q.new_empty(len(q), 1)
        loss = q.new_zeros(())
        size = max(1, max_logits // max(1, len(queue)))
        for start in range(0, len(q), size):
            part = slice(start, start + size)
            query, key = q[part] / temperature, k[part]
            own = (query * key).sum(dim=1, keepdim=True)
            others = query @ queue.T
            # logits of unit rows reach 1 / temperature, whose exponential may overflow
            top = own  # all there is with an empty queue, which has no largest entry
            if len(queue):
                top = torch.maximum(own, others.amax(dim=1, keepdim=True))
            exponentials = others.sub_(top).exp_()
            positive = (own - top).exp()
            total = positive + exponentials.sum(dim=1, keepdim=True)
            loss += (top + total.log() - own).sum()
            torch.sub(positive / total, 1, out=slope[part])
            if dq is not None:
                dq[part] = (exponentials @ queue).div_(total).addcmul_(slope[part], key)
        ctx.save_for_backward(dq, slope * q if for_k else None)
        ctx.scale = 1 / (temperature * max(1, len(q)))
        return loss / len(q)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple:
        scale = grad_output * ctx.scale
        dq, dk = (None if saved is None else saved * scale for saved in ctx.saved_tensors)
        return dq, dk, None, None, None
