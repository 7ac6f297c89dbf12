"""An instance classifier as a table of all rows under torch's SGD, with a softmax over sampled ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DenseRows:
    """The reference of sampled rows: nothing is put off, every row takes every step.

    Args:
        weight: (N, D) start.
        num_negatives: K; `None` takes all rows.
        temperature: Of the softmax.
        options: Of SGD.
    """

    def __init__(
        self, weight: Tensor, *, num_negatives: int | None, temperature: float = 0.2, **options
    ) -> None:
        self.weight = nn.Parameter(weight.clone())
        self.optimizer = torch.optim.SGD([self.weight], lr=0.1, **options)
        self.num_negatives, self.temperature = num_negatives, temperature
        self.recent: list[int] = []

    def loss(self, large: Tensor, small: Tensor | None, index: Tensor) -> Tensor:
        """Cross-entropy over the recent list and the batch, (V * B, D) and (S * B, D) crops of B images."""
        columns = list(range(len(self.weight)))
        if self.num_negatives is not None:
            columns = sorted({*self.recent, *index.tolist()})
        place = {column: number for number, column in enumerate(columns)}
        target = torch.tensor([place[own] for own in index.tolist()])
        rows = F.normalize(self.weight[torch.tensor(columns)], dim=1)
        logits = F.linear(F.normalize(large, dim=1), rows)
        if small is not None and len(small):
            logits = torch.cat([logits, F.linear(F.normalize(small, dim=1), rows.detach())])
        return F.cross_entropy(logits / self.temperature, target.repeat(len(logits) // len(index)))

    def step(self, lr: float, index: Tensor) -> None:
        """SGD on all rows, then the batch becomes recent."""
        self.optimizer.param_groups[0]["lr"] = lr
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.num_negatives is not None:
            for own in index.tolist():
                self.recent = [other for other in self.recent if other != own] + [own]
            self.recent = self.recent[-self.num_negatives :]

    @property
    def momentum(self) -> Tensor:
        """(N, D) momenta; zeros where SGD keeps none."""
        state = self.optimizer.state[self.weight]
        return state.get("momentum_buffer", torch.zeros_like(self.weight))
