"""Everything of `torch.distributed` that methods and hooks use.

Each function is the identity (or the local result) on a single process and says whether gradients
pass through it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

Rows = TypeVar("Rows", bound=Tensor | tuple[Tensor, ...])


def is_distributed() -> bool:
    """Whether a process group exists."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Index of this process, 0 on a single one."""
    return dist.get_rank() if is_distributed() else 0


def world_size() -> int:
    """Number of processes, 1 on a single one."""
    return dist.get_world_size() if is_distributed() else 1


def ranks_on_this_machine() -> int:
    """Processes of the run that share this one's memory; 1 on a single one. All ranks have to call it."""
    if world_size() == 1:
        return 1
    names = gather_objects(socket.gethostname())
    told = os.environ.get("LOCAL_WORLD_SIZE")  # torchrun's; other launchers leave it out
    return names.count(socket.gethostname()) if told is None else int(told)


@torch.no_grad()
def gather_cat(tensor: Tensor) -> Tensor:
    """Concatenate `tensor` (B, ...) of all ranks in rank order to (R * B, ...); no gradient."""
    if world_size() == 1:
        return tensor.detach()
    parts = [torch.empty_like(tensor) for _ in range(world_size())]
    dist.all_gather(parts, tensor.detach().contiguous())
    return torch.cat(parts)


class _GatherWithGrad(torch.autograd.Function):
    """Rows of all ranks; the gradient of a rank's rows is the sum of what all ranks have for them."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return gather_cat(tensor)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Tensor:
        return sum_to_own_rows(grad_output)


def own_rows(number: int, device: torch.device | str = "cpu") -> Tensor:
    """(number,) int64 places that this rank's rows have in what `gather_cat` returns.

    Args:
        number: Rows of each rank.
        device: Of the result.

    Example:
        >>> own_rows(3).tolist()
        [0, 1, 2]
    """
    return torch.arange(number, device=device) + rank() * number


def gather_cat_with_grad(tensor: Tensor, *, others: bool = True) -> Tensor:
    """Concatenate `tensor` (B, ...) of all ranks in rank order to (R * B, ...), with gradient.

    DDP averages gradients over ranks, so that the mean of the ranks' losses is what is minimised.

    Args:
        tensor: As many rows on every rank.
        others: Whether rows of other ranks get a gradient, which is sent to them; all ranks then have to
            run the backward pass. Without it only the own rows do.
    """
    if world_size() == 1:
        return tensor
    if others:
        return _GatherWithGrad.apply(tensor)
    parts = list(gather_cat(tensor).split(len(tensor)))
    parts[rank()] = tensor
    return torch.cat(parts)


@torch.no_grad()
def reduce_mean(tensor: Tensor) -> Tensor:
    """Mean of `tensor` over the ranks; no gradient."""
    if world_size() == 1:
        return tensor.detach()
    total = tensor.detach().clone()
    dist.all_reduce(total)
    return total / world_size()


@torch.no_grad()
def through_shuffled_batch(encode: Callable[[Tensor], Rows], images: Tensor) -> Rows:
    """What `encode` makes of `images`, computed on another process for most of them (shuffling BatchNorm).

    The images of all ranks are permuted at random (rank 0 draws), each rank encodes its share, and every row
    goes back to where its image came from: the batch statistics of a key are not those of its query.
    Momentum Contrast (arXiv 1911.05722), section 3.3. On one process it is `encode(images)`; no gradient.

    Args:
        encode: Maps (B, ...) images to a tensor of B rows, or to a tuple (also a named one) of such tensors.
        images: (B, ...), as many on every rank.

    Returns:
        What `encode` returns, of the images of this rank.
    """
    if world_size() == 1:
        return encode(images)
    everything = gather_cat(images)
    order = torch.randperm(len(everything), device=images.device)
    dist.broadcast(order, 0)
    share = order.view(world_size(), -1)[rank()]
    place = order.argsort().view(world_size(), -1)[rank()]
    encoded = encode(everything[share])
    if isinstance(encoded, Tensor):
        return cast(Rows, gather_cat(encoded)[place])
    rows = [gather_cat(part)[place] for part in encoded]
    return cast(Rows, encoded._make(rows) if hasattr(encoded, "_make") else tuple(rows))


@torch.no_grad()
def broadcast_buffers(module: nn.Module) -> None:
    """Give every rank the buffers of rank 0, such as the running statistics of BatchNorm."""
    if world_size() > 1:
        for buffer in module.buffers():
            dist.broadcast(buffer, 0)


def wire_device() -> torch.device:
    """The device whose tensors the backend of several ranks can exchange."""
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")


@torch.no_grad()
def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Sum of `tensor` over the ranks, on its device; no gradient. Exact if every addition is."""
    if world_size() == 1:
        return tensor.detach()
    total = tensor.detach().to(wire_device(), copy=True)
    dist.all_reduce(total)
    return total.to(tensor.device)


@torch.no_grad()
def sum_to_own_rows(tensor: Tensor) -> Tensor:
    """Of the sum of `tensor` (R * B, ...) over the ranks the B rows that are this rank's; no gradient.

    The rows of rank 0 come first, as `gather_cat` has them.
    """
    if world_size() == 1:
        return tensor.detach()
    share = len(tensor) // world_size()
    if dist.get_backend() == "nccl":  # each row goes to one rank only
        own = tensor.new_empty(share, *tensor.shape[1:])
        dist.reduce_scatter_tensor(own, tensor.detach().contiguous())
        return own
    return sum_over_ranks(tensor).narrow(0, rank() * share, share)


class _SumWithOwnGrad(torch.autograd.Function):
    """The sum over the ranks; the gradient goes to the own summand, times a factor."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return sum_over_ranks(tensor)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        return grad_output * ctx.factor, None


def sum_with_own_grad(tensor: Tensor, *, before_mean: bool = False) -> Tensor:
    """Sum of `tensor` over the ranks, of which only this rank's summand gets a gradient.

    So does an `all_reduce` in a forward pass: DDP, which takes the mean over the ranks, then arrives at the
    gradient of a function of the sum divided by the number of ranks.

    Args:
        tensor: Of the same shape on every rank.
        before_mean: Multiply the gradient by the number of ranks, which makes up for that mean.
    """
    if world_size() == 1:
        return tensor
    return _SumWithOwnGrad.apply(tensor, float(world_size()) if before_mean else 1.0)


@torch.no_grad()
def max_over_ranks(tensor: Tensor) -> Tensor:
    """Largest of each value of `tensor` over the ranks, on its device; no gradient."""
    if world_size() == 1:
        return tensor.detach()
    largest = tensor.detach().to(wire_device(), copy=True)
    dist.all_reduce(largest, op=dist.ReduceOp.MAX)
    return largest.to(tensor.device)


@torch.no_grad()
def from_first_rank(tensor: Tensor) -> Tensor:
    """The `tensor` of rank 0, on the device of each rank's own, which has the same shape; no gradient."""
    if world_size() == 1:
        return tensor.detach()
    sent = tensor.detach().to(wire_device(), copy=True).contiguous()
    dist.broadcast(sent, 0)
    return sent.to(tensor.device)


def gather_objects(item: Any) -> list[Any]:
    """A small picklable `item` of every rank, in rank order; slow, for messages."""
    if world_size() == 1:
        return [item]
    items: list[Any] = [None] * world_size()
    dist.all_gather_object(items, item)
    return items


@torch.no_grad()
def union(flags: Tensor) -> Tensor:
    """Where `flags` (any shape, bool, CPU) is true on at least one rank."""
    if world_size() == 1:
        return flags
    value = flags.to(wire_device(), torch.uint8)
    dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return value.to("cpu", torch.bool)


@torch.no_grad()
def any_rank(flag: bool) -> bool:
    """Whether `flag` is true on at least one rank: the way to leave a loop together."""
    if world_size() == 1:
        return flag
    value = torch.tensor([float(flag)], device=wire_device())
    dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return bool(value.item())
