"""CollapseDoctor: from a few numbers per check to the name of a fault, its onset and its usual cause.

Knows nothing of runners or modules; `CollapseHook` measures, this decides. The state is plain
numbers, so that a resumed run goes on with the same memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mmssl.evaluation.collapse import effective_rank, feature_std

# Faults by name: what usually causes them.
CAUSES = {
    "constant embedding": (
        "the target branch carries gradient (detach it), the predictor is missing or bypassed, "
        "BatchNorm is gone from the heads, or weight decay or the learning rate is far too high"
    ),
    "dimensional collapse": (
        "a bottleneck in the projector, a too strong regularisation term, views that are almost "
        "identical, or a learning rate that is too high"
    ),
    "uniform prediction": (
        "the teacher's output is flat: temperature too high, centring too strong, a learning rate "
        "without warm-up, or float16 overflow in the head"
    ),
    "loss at its floor": (
        "both views are the same image (is the augmentation on?), the target sees its own answer, or "
        "the embedding has collapsed"
    ),
    "loss that does not move": (
        "the optimizer holds no parameter of this term, the learning rate is 0, or the output no "
        "longer depends on the input"
    ),
    "loss jump": "a learning rate that is too high, float16 overflow, or a broken batch",
    "loss back at its start": (
        "the network lost what it had learnt: a learning rate that is too high, or a twin whose "
        "momentum is too low"
    ),
    "not finite": "a learning rate that is too high, float16 overflow, or a division by zero",
    "frozen twin": (
        "nothing updates the twin (MomentumUpdateHook missing), its momentum is 1, or it was built "
        "from a stale copy of the online network"
    ),
    "diverging twin": "a momentum outside [0, 1], or weights written into the twin by other code",
}


class Spread(NamedTuple):
    """How one batch of embeddings lies on the sphere.

    Attributes:
        spread: `feature_std` times sqrt(D): 1 evenly spread, 0 constant.
        rank: Effective rank of the L2-normalised, centred embeddings.
        rows: How many embeddings were looked at.
        kind: Of what.
    """

    spread: float
    rank: float
    rows: int
    kind: Literal["images", "cells"] = "images"


class LossWindow(NamedTuple):
    """A loss term over the iterations since the last check: `num_values` of them."""

    mean: float
    low: float
    high: float
    num_values: int


class TwinState(NamedTuple):
    """A twin and its owner, over a sample of their parameters.

    Attributes:
        num_updates: Updates so far.
        momentum: Of the next update.
        first_momentum: Of the first update; equal to `momentum` unless a schedule changes it.
        twin: Norm and sum of each sampled parameter of the twin.
        online: The same of the owner.
        distance: Norm of the difference.
    """

    num_updates: int
    momentum: float
    first_momentum: float
    twin: list[float]
    online: list[float]
    distance: float


class Fault(NamedTuple):
    """A fault that lasts.

    Attributes:
        name: One of `CAUSES`.
        where: The module or loss term.
        since: Iteration of the first check that showed it.
        detail: What was measured.
        is_new: It was not reported before.
    """

    name: str
    where: str
    since: int
    detail: str
    is_new: bool

    def __str__(self) -> str:
        return (
            f"Collapse doctor: {self.name} ({self.where}) since iteration {self.since}: "
            f"{self.detail}. Usual cause: {CAUSES[self.name]}."
        )


class _Sign(NamedTuple):
    """A fault as one check sees it; `patience` checks in a row make it real."""

    name: str
    where: str
    detail: str
    patience: int


def _some_cells(maps: Tensor, num: int) -> Tensor:
    """(num, D) cells of maps (B, D, ...), drawn once and for all; fewer maps have all theirs."""
    flat = maps.detach().flatten(2)
    total = len(flat) * flat.shape[2]
    # drawn: even steps can meet the same cell of every map, and that is often a corner
    index = torch.randperm(total, generator=torch.Generator().manual_seed(0))[:num]
    index = index.to(flat.device)
    return flat[index // flat.shape[2], :, index % flat.shape[2]]


def measure_spread(embeddings: Tensor, max_rows: int = 128) -> Spread:
    """`Spread` of embeddings.

    Args:
        embeddings: (B, D) of images, or maps (B, D, ...): then of their cells, since the mean over a map
            may differ between images whose cells hardly do.
        max_rows: More are thinned out, images evenly, cells by a fixed draw.

    Example:
        >>> measure_spread(torch.ones(8, 4)).spread
        0.0
    """
    kind: Literal["images", "cells"] = "images" if embeddings.ndim == 2 else "cells"
    if kind == "cells":
        rows = _some_cells(embeddings, max_rows)
    else:
        rows = embeddings.detach()[:: -(-len(embeddings) // max_rows)]
    rows = rows.cpu().double()
    unit = F.normalize(rows, dim=1)
    if not unit.isfinite().all():
        return Spread(math.nan, math.nan, len(rows), kind)
    # The eigenvalues of the smaller Gram matrix are the squared singular values, and much cheaper.
    centred = unit - unit.mean(dim=0)
    gram = centred @ centred.T if len(rows) <= rows.shape[1] else centred.T @ centred
    singular = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt()
    return Spread(
        feature_std(rows) * math.sqrt(rows.shape[1]),
        effective_rank(singular.diag()),
        len(rows),
        kind,
    )


@dataclass
class CollapseDoctor:
    """Compares each check with the ones before.

    Args:
        min_spread: Embeddings below this spread are constant.
        low_spread: Embeddings below this spread that do not recover are on the way there.
        min_rank: An effective rank below this is a dimensional collapse.
        floors: Values that no healthy loss term reaches (BYOL and CARE 0, SimSiam -1).
        flat: Relative width of "the same value".
        jump: A loss above this many times its highest value so far is a jump.
        repeat: Checks between two reports of a fault that lasts.
    """

    min_spread: float = 0.02
    low_spread: float = 0.15
    min_rank: float = 2.0
    floors: tuple[float, ...] = (0.0, -1.0)
    flat: float = 1e-3
    jump: float = 3.0
    repeat: int = 20
    _signs: dict[str, list[int]] = field(default_factory=dict)
    _spreads: dict[str, float] = field(default_factory=dict)
    _losses: dict[str, dict[str, float]] = field(default_factory=dict)
    _twins: dict[str, dict[str, Any]] = field(default_factory=dict)

    def state_dict(self) -> dict[str, Any]:
        """The memory as plain containers and numbers."""
        return dict(
            signs=self._signs, spreads=self._spreads, losses=self._losses, twins=self._twins
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the memory of another doctor."""
        self._signs = {key: list(value) for key, value in state["signs"].items()}
        self._spreads = dict(state["spreads"])
        self._losses = {key: dict(value) for key, value in state["losses"].items()}
        self._twins = {key: dict(value) for key, value in state["twins"].items()}

    def check(
        self,
        iteration: int,
        *,
        embeddings: Mapping[str, Spread] | None = None,
        features: Mapping[str, Spread] | None = None,
        losses: Mapping[str, LossWindow] | None = None,
        uniform: Mapping[str, float] | None = None,
        floors: Mapping[str, float] | None = None,
        twins: Mapping[str, TwinState] | None = None,
    ) -> list[Fault]:
        """Look at one check of a run.

        Args:
            iteration: Finished iterations.
            embeddings: By name, what the loss sees (projector outputs).
            features: By name, what lies below (pooled backbone maps) or has no norm before it: held to the
                lowest bound only, since untrained features may resemble each other.
            losses: By name, loss terms.
            uniform: By name of a loss term, its value when every outcome is as likely as any other: ln K for
                a cross-entropy over K.
            floors: By name of a loss term, its own floor, in place of the general ones.
            twins: By name, momentum twins.

        Returns:
            Faults to report now: new ones, and lasting ones every `repeat` checks.
        """
        embeddings, features = embeddings or {}, features or {}
        uniform, floors = uniform or {}, floors or {}
        signs: list[_Sign] = []
        for name, spread in embeddings.items():
            signs += self._look_at_spread(name, spread, self.low_spread)
        for name, spread in features.items():
            signs += self._look_at_spread(name, spread, self.min_spread)
        for name, window in (losses or {}).items():
            own = (floors[name],) if name in floors else self.floors
            signs += self._look_at_loss(name, window, uniform.get(name), own)
        for name, twin in (twins or {}).items():
            signs += self._look_at_twin(name, twin)
        return self._diagnose(iteration, signs)

    def _diagnose(self, iteration: int, signs: list[_Sign]) -> list[Fault]:
        faults, memory = [], {}
        for sign in signs:
            key = f"{sign.name}|{sign.where}"
            since, count, reported = self._signs.get(key, (iteration, 0, 0))
            count += 1
            if count >= sign.patience and (not reported or count - reported >= self.repeat):
                faults.append(Fault(sign.name, sign.where, since, sign.detail, not reported))
                reported = count
            memory[key] = [since, count, reported]
        self._signs = memory
        return faults

    def _look_at_spread(self, name: str, now: Spread, low: float) -> list[_Sign]:
        if not math.isfinite(now.spread):
            return [_Sign("not finite", name, "the embeddings hold NaN or infinity", 1)]
        before = self._spreads.get(name, math.inf)
        self._spreads[name] = now.spread
        rising = now.spread > 1.05 * before
        if now.rows < 2:
            return []
        if now.spread < self.min_spread or (now.spread < low and not rising):
            patience = 2 if now.spread < self.min_spread else 3
            text = f"all {now.kind} look the same, spread {now.spread:.2g} (healthy: near 1, constant: 0)"
            return [_Sign("constant embedding", name, text, patience)]
        # A handful of rows spans few dimensions by itself.
        if now.rows >= 8 and now.rank < self.min_rank:
            text = f"effective rank {now.rank:.2f} over {now.rows} {now.kind}"
            return [_Sign("dimensional collapse", name, text, 3)]
        return []

    def _look_at_loss(
        self, name: str, now: LossWindow, uniform: float | None, floors: Sequence[float]
    ) -> list[_Sign]:
        if not all(map(math.isfinite, now)):
            return [_Sign("not finite", name, "NaN or infinity in the last iterations", 1)]
        if name not in self._losses:
            self._losses[name] = dict(first=now.mean, low=now.mean, peak=_size(now))
        memory = self._losses[name]
        first, low, peak = memory["first"], memory["low"], memory["peak"]
        scale = max(peak, uniform or 0.0, 1e-8)
        signs = []
        if uniform is not None and abs(now.mean - uniform) < self.flat * uniform:
            text = f"{now.mean:.4f} is its value when every outcome is as likely as any other"
            # a loss that has yet to leave this value may be near it for a while, but not at it
            left = low < (1 - 10 * self.flat) * uniform
            at_it = abs(now.mean - uniform) < 0.02 * self.flat * uniform
            signs.append(
                _Sign("uniform prediction", name, text, 3 if left or at_it else self.repeat)
            )
        elif any(abs(now.mean - floor) < self.flat * max(1.0, scale) for floor in floors):
            signs.append(_Sign("loss at its floor", name, f"mean {now.mean:.2e}", 3))
        elif now.num_values >= 10 and now.high - now.low < 0.01 * self.flat * scale:
            signs.append(_Sign("loss that does not move", name, _flat_text(now.mean), 3))
        if now.high > self.jump * scale:
            text = f"{now.high:.4g}, after at most {peak:.4g} before"
            return [*signs, _Sign("loss jump", name, text, 1)]
        if uniform is None and first > 0 and low < 0.3 * first and now.mean > 0.9 * first:
            text = f"{now.mean:.4g}, first {first:.4g}, had been {low:.4g}"
            signs.append(_Sign("loss back at its start", name, text, 3))
        memory.update(low=min(low, now.mean), peak=max(peak, _size(now)))
        return signs

    def _look_at_twin(self, name: str, now: TwinState) -> list[_Sign]:
        numbers = [*now.twin, *now.online, now.distance]
        if not all(map(math.isfinite, numbers)):
            return [_Sign("not finite", name, "its parameters hold NaN or infinity", 1)]
        twin_norm, online_norm = _norm(now.twin), _norm(now.online)
        before = self._twins.get(name)
        peak = max(online_norm, before["peak"] if before else twin_norm)
        self._twins[name] = dict(
            num_updates=now.num_updates, twin=list(now.twin), online=list(now.online), peak=peak
        )
        if not 0 <= now.momentum <= 1:
            text = f"its momentum is {now.momentum:.6g}"
            return [_Sign("diverging twin", name, text, 1)]
        # An average of past weights is never longer than the longest of them.
        if twin_norm > 1.5 * peak or now.distance > 2 * peak:
            text = (
                f"norm {twin_norm:.4g}, distance {now.distance:.4g}, while the online network never "
                f"exceeded {peak:.4g}"
            )
            return [_Sign("diverging twin", name, text, 1)]
        if before is None or before["online"] == list(now.online):
            return []
        # At the end of a schedule that rises to 1 the last steps vanish in rounding.
        if 1 - now.momentum < 1e-4 and now.first_momentum < now.momentum:
            return []
        if before["twin"] == list(now.twin):
            missed = before["num_updates"] == now.num_updates
            text = "its weights stand still while the online network moves" + (
                f", {now.num_updates} updates so far"
                if missed
                else f"; updates do happen, with momentum {now.momentum:.6g}"
            )
            return [_Sign("frozen twin", name, text, 2)]
        return []


def _size(window: LossWindow) -> float:
    return max(abs(window.low), abs(window.high))


def _norm(sample: list[float]) -> float:
    """Norm over the sampled parameters; `sample` holds a norm and a sum of each."""
    return math.sqrt(sum(value * value for value in sample[0::2]))


def _flat_text(mean: float) -> str:
    text = f"{mean:.4f} in every iteration"
    outcomes = round(math.exp(mean)) if 0 < mean < 20 else 0
    if outcomes > 1 and abs(math.log(outcomes) - mean) < 1e-4 * mean and outcomes < 20000:
        return f"{text}, which is ln {outcomes}"
    return text


THRESHOLDS = tuple(each.name for each in fields(CollapseDoctor) if not each.name.startswith("_"))
"""Names of what a `CollapseDoctor` may be told."""
