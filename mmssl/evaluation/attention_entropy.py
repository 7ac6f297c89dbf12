"""How spread the attention of the last block is, per head, and where most of it lies.

EsViT - Efficient Self-supervised Vision Transformers for Representation Learning (ICLR 2022, arXiv
2106.09785), appendix; compared with `analyze_models.py` of microsoft/esvit. Deviations: all images
and all windows count (the first of a batch, the first window there), and a probability of zero adds
nothing (NaN there).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmssl.evaluation.features import Branch, rows_of_images
from mmssl.structures import ViewBatch

MASS = 0.6


@dataclass(frozen=True)
class HeadEntropies:
    """Entropy of the last block's attention over a set of images.

    Attributes:
        entropy: Bits per head, mean over queries, windows and images; heads in the network's order.
        largest: What a head reaches that attends to all keys alike: log2 of their number.
        num_images: Images that were looked at.
    """

    entropy: list[float]
    largest: float
    num_images: int


def attention_entropy(attention: Tensor) -> Tensor:
    """Entropy of attention in bits, - sum_k a_k log2 a_k.

    Args:
        attention: (..., keys) probabilities; each row sums to 1.

    Returns:
        (...), between 0 and log2(keys).

    Example:
        >>> attention_entropy(torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])).tolist()
        [1.0, 0.0]
    """
    tiny = torch.finfo(attention.dtype).tiny
    # Adding 0 turns the -0 of a row with a single key into 0.
    return -(attention * attention.clamp_min(tiny).log2()).sum(dim=-1) + 0.0


def last_attention(backbone: nn.Module, images: Tensor) -> Tensor:
    """Attention probabilities of the backbone's last block, (N * windows, heads, queries, keys).

    Args:
        backbone: Has a method `last_attention`.
        images: (N, 3, H, W) normalised images.

    Raises:
        ValueError: It has none.
    """
    if not hasattr(backbone, "last_attention"):
        raise ValueError(
            f"{type(backbone).__name__} does not tell its attention (it has no method "
            "last_attention); give a network whose last block attends, such as Swin."
        )
    return backbone.last_attention(images)


def mass_mask(attention: Tensor, mass: float = MASS) -> Tensor:
    """The keys with the highest probabilities, as many as hold `mass` of the attention.

    In ascending order, a key belongs to the mask when the sum up to it exceeds 1 - mass.

    Args:
        attention: (..., keys), not negative; need not sum to 1 (a class token may be left out).
        mass: Share in (0, 1].

    Returns:
        (..., keys) bool.

    Raises:
        ValueError: `mass` is out of range.

    Example:
        >>> mass_mask(torch.tensor([0.1, 0.5, 0.1, 0.3])).tolist()
        [False, True, False, True]
    """
    if not 0 < mass <= 1:
        raise ValueError(f"mass must lie in (0, 1], got {mass}.")
    ascending, order = attention.sort(dim=-1, stable=True)
    share = ascending.cumsum(dim=-1) / ascending.sum(dim=-1, keepdim=True)
    kept = share > 1 - mass
    return torch.zeros_like(kept).scatter(-1, order, kept)


def measure_attention_entropy(
    network: nn.Module,
    loader: DataLoader,
    *,
    branch: Branch = "online",
    preprocessor: nn.Module | None = None,
    progress: str = "",
) -> HeadEntropies:
    """Entropy of every head of the last block over a set of images.

    The network is left as it was found; on several ranks each one gets the result of all images.

    Args:
        network: An algorithm (maybe wrapped for distributed training) or a backbone.
        loader: Yields `ViewBatch`es, whose first view counts; see `evaluation_loader`.
        branch: The online network's or the twin's backbone.
        preprocessor: Normalises the images of a plain backbone; default `ViewPreprocessor()`.
        progress: Title of the progress bar; empty shows none.

    Raises:
        ValueError: The backbone does not tell its attention, no such branch, or no image.
    """
    keys = 1

    def compute(backbone: nn.Module, views: ViewBatch) -> Tensor:
        nonlocal keys
        images = views.images[0]
        attention = last_attention(backbone, images).float()
        keys = attention.shape[-1]
        per_window = attention_entropy(attention).mean(dim=2)
        return per_window.unflatten(0, (len(images), -1)).mean(dim=1)

    rows = rows_of_images(
        network, loader, compute, branch=branch, preprocessor=preprocessor, progress=progress
    ).features
    return HeadEntropies(
        entropy=rows.double().mean(dim=0).tolist(),
        largest=torch.tensor(float(keys)).log2().item(),
        num_images=len(rows),
    )
