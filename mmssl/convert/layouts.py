"""Finding the weights of a backbone in a file of any common layout.

The layout is read from the names, not from a list of formats: every dictionary of tensors in the file
and every prefix of its names is a candidate, and the one under which most of the module's names appear
wins. This covers torchvision and timm (no prefix), mmdet, mmseg and our checkpoints (`backbone.`,
`twin.backbone.`), and the official ones: MoCo, PCL, HCSC and CLSA (`module.encoder_q.`), MoCo v3
(`module.base_encoder.`), SimSiam and InfoMin (`module.encoder.`), CARE (`module.student_encoder.`,
`module.teacher_encoder.`), DINO and EsViT (dictionaries `student` and `teacher`), Barlow Twins
(`module.backbone.`), SwAV and NPID (`module.`), PixPro and PIC (`module.encoder.`), MoBY (`encoder.`),
DenseCL (`backbone.`, `encoder_q.0.`). Of networks whose parts have other names elsewhere (Swin),
`name_layouts` lists the names to look for.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

Branch = Literal["auto", "online", "twin"]

_TWIN = re.compile(
    r"(^|[._])(twin|teacher|target|momentum|ema|encoder_k|key_encoder|backbone_k)([._]|$)"
)


class Found(NamedTuple):
    """One place in a file where the weights of a module are.

    Attributes:
        path: Keys of the nested dictionaries down to the state dict.
        prefix: What stands before the module's names there, with its final dot.
        weights: The tensors under that prefix, without it.
        num_matched: How many of the module's names are among them.
    """

    path: tuple[str, ...]
    prefix: str
    weights: dict[str, Tensor]
    num_matched: int

    @property
    def is_twin(self) -> bool:
        """Whether names say that this is the momentum copy (teacher, target, key encoder)."""
        return any(_TWIN.search(part) for part in (*self.path, self.prefix.rstrip(".")))

    def __str__(self) -> str:
        return " / ".join([*self.path, f"{self.prefix}*"])


def _state_dicts(
    node: Mapping[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """All dictionaries that hold tensors by name, with the path to each; at most three levels down."""
    tensors = {k: v for k, v in node.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if tensors:
        yield path, tensors
    for key, value in node.items():
        if isinstance(key, str) and isinstance(value, Mapping) and len(path) < 3:
            yield from _state_dicts(value, (*path, key))


def _prefixes(names: Mapping[str, Tensor], wanted: set[str]) -> Counter[str]:
    """How many of `wanted` appear in `names` behind each prefix."""
    counts: Counter[str] = Counter()
    for name in names:
        start = 0
        while True:
            if name[start:] in wanted:
                counts[name[:start]] += 1
            dot = name.find(".", start)
            if dot < 0:
                break
            start = dot + 1
    return counts


def num_found(checkpoint: Mapping[str, Any], wanted: set[str]) -> int:
    """How many of the `wanted` names the best place in `checkpoint` holds."""
    return max(
        (
            count
            for _, tensors in _state_dicts(checkpoint)
            for count in _prefixes(tensors, wanted).values()
        ),
        default=0,
    )


def _same(a: Found, b: Found) -> bool:
    return a.weights.keys() == b.weights.keys() and all(
        torch.equal(a.weights[name], b.weights[name]) for name in a.weights
    )


def find_weights(
    checkpoint: Mapping[str, Any],
    wanted: set[str],
    *,
    branch: Branch = "auto",
    published: Literal["online", "twin"] = "online",
    prefix: str | None = None,
) -> tuple[Found, Literal["online", "twin"]]:
    """The place in `checkpoint` that holds most of the `wanted` names.

    Args:
        checkpoint: The content of a weights file.
        wanted: Names of the module to load into.
        branch: The `online` network, its momentum `twin`, or `auto`: what the method publishes, if the file
            has it. That is the teacher of files that hold the two dictionaries `student` and `teacher`
            (DINO, EsViT), the average of those that hold `state_dict_ema` (timm, CoTNet), else `published`.
        published: What our method publishes, where that is known; its twin is `twin.*`.
        prefix: Take exactly this prefix instead of detecting one, for example `module.encoder_q.`.

    Returns:
        The place, and whether it is the online network or the twin.

    Raises:
        ValueError: No name matches; the file lacks the branch; or several places fit equally well.
    """
    states = list(_state_dicts(checkpoint))
    places = []
    for path, tensors in states:
        for candidate, count in _prefixes(tensors, wanted).items():
            if prefix is None or candidate == prefix:
                weights = {
                    name.removeprefix(candidate): tensor
                    for name, tensor in tensors.items()
                    if name.startswith(candidate)
                }
                places.append(Found(path, candidate, weights, count))
    if not places:
        seen = sorted({name for _, tensors in states for name in tensors})
        raise ValueError(
            f"None of the network's {len(wanted)} names ({', '.join(sorted(wanted)[:3])}, ...) is in "
            f"the file{f' behind {prefix!r}' if prefix is not None else ''}. The file holds "
            + (f"{len(seen)} tensors: {', '.join(seen[:6])}, ..." if seen else "no tensors.")
            + " Is it of another architecture, or made by another library?"
        )
    most = max(place.num_matched for place in places)
    # A prefix with few hits is a chance hit, as `layer1.0.` + `conv1.weight`.
    places = [place for place in places if place.num_matched > most / 2]
    online = [place for place in places if not place.is_twin]
    twin = [place for place in places if place.is_twin]
    if branch == "auto":
        official = [p for p in twin if {"teacher", "state_dict_ema"} & {*p.path}]
        own = [p for p in twin if published == "twin" and p.prefix.startswith("twin.")]
        twin = official or own or twin
        branch = "twin" if official or own or not online else "online"
    chosen = online if branch == "online" else twin
    if not chosen:
        raise ValueError(
            f"The file has no {branch} weights of this network; found: "
            f"{'; '.join(str(place) for place in places)}. Choose branch='auto'."
        )
    best = max(place.num_matched for place in chosen)
    chosen = [place for place in chosen if place.num_matched == best]
    if any(not _same(chosen[0], other) for other in chosen[1:]):
        raise ValueError(
            f"The file holds several different weights of this network: "
            f"{'; '.join(str(place) for place in chosen)}. Choose one with prefix=..."
        )
    return chosen[0], branch
