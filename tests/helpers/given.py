"""Methods on embeddings that a golden gives, and on random numbers that it gives."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.helpers.golden_inputs import uniform


class Given(nn.Module):
    """A backbone whose feature of an image is the image."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.out_channels = [dim]
        self.weight = nn.Parameter(torch.zeros(1))  # something for the twin to mirror

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (images,)


class Same(nn.Module):
    """A neck that leaves the features alone."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.out_channels = dim

    def forward(self, features: Tensor) -> Tensor:
        return features


class Draws:
    """The uniform numbers of a case in its order; those of prototypes belong to the negatives only.

    Args:
        names: Of the draws.
        negatives: Ids of the negative prototypes of each level.
    """

    def __init__(self, names: list[str], negatives: list[Tensor]) -> None:
        self.names, self.negatives = list(names), negatives
        self.seen: dict[str, Tensor] = {}

    def __call__(self, probability: Tensor) -> Tensor:
        name = self.names.pop(0)
        if "/proto/" in name:
            columns = self.negatives[int(name[-1])]
            self.seen[name] = probability[:, columns]
            found = torch.ones_like(probability)
            found[:, columns] = uniform(name, (len(probability), len(columns))).to(probability)
            return found
        self.seen[name] = probability
        return uniform(name, probability.shape).to(probability)


def negatives_below(last: Tensor, assigned: Tensor) -> list[Tensor]:
    """Ids of the negative prototypes on each level, as the official code takes them.

    Args:
        last: (L,) the highest prototype with an image.
        assigned: (L, N) prototypes of the batch.
    """
    return [
        torch.tensor([i for i in range(int(top)) if i not in set(own.tolist())])
        for top, own in zip(last, assigned, strict=True)
    ]
