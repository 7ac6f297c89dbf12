"""CoTNetArch: the structure of a network of the CoTNet family, and the published ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from .cot_bottleneck import Mixer

Stem = Literal["conv7", "deep"]


@dataclass(frozen=True)
class CoTNetArch:
    """What a network consists of; the defaults are CoTNet-50.

    | stem    | layers                                                   | stride | first stage |
    |---------|----------------------------------------------------------|--------|-------------|
    | `conv7` | 7x7 with stride 2, max-pool                              | 4      | stride 1    |
    | `deep`  | three 3x3, the first with stride 2 and half the channels | 2      | stride 2    |

    Attributes:
        depths: Blocks of each stage.
        mixers: What stands for the 3x3 convolution (see `CoTBottleneck`): one name for all stages, or an
            entry for each stage, which is a name or several that its blocks take in turn.
        planes: A stage has four times as many channels.
        base_width: Inner channels of a block, for 64 planes and one group.
        cardinality: Factor on the inner channels (the groups of CoTNeXt).
        stem: See above.
        stem_channels: Channels behind the stem.
        avg_down: Shortcuts average 2x2 positions instead of taking every second one.
        blur: Mixers run before the stride, which is a blur, instead of behind or with it.
        key_kernel_size: Of the keys in the mixer `sasa`.

    Raises:
        ValueError: Stages of different numbers, or names that do not exist.
    """

    depths: tuple[int, ...] = (3, 4, 6, 3)
    mixers: Mixer | tuple[Mixer | tuple[Mixer, ...], ...] = "cot"
    planes: tuple[int, ...] = (64, 128, 256, 512)
    base_width: int = 64
    cardinality: int = 1
    stem: Stem = "conv7"
    stem_channels: int = 64
    avg_down: bool = False
    blur: bool = False
    key_kernel_size: int = 1

    def __post_init__(self) -> None:
        for name in ("depths", "planes"):
            values = getattr(self, name)
            if not isinstance(values, tuple) or not all(
                isinstance(value, int) and value > 0 for value in values
            ):
                raise ValueError(
                    f"arch.{name} must have a positive number for each stage, got {values!r}."
                )
        if self.stem not in get_args(Stem):
            raise ValueError(
                f"arch.stem must be one of {', '.join(get_args(Stem))}, got {self.stem!r}."
            )
        lengths = {"depths": len(self.depths), "planes": len(self.planes)}
        if not isinstance(self.mixers, str):
            lengths["mixers"] = len(self.mixers)
        if len(set(lengths.values())) != 1:
            raise ValueError(f"arch must have one entry for each stage, got lengths {lengths}.")
        named = {name for stage in range(len(self.depths)) for name in self.stage_mixers(stage)}
        unknown = sorted(named - set(get_args(Mixer)))
        if unknown:
            raise ValueError(
                f"arch.mixers must be out of {', '.join(get_args(Mixer))}, got {', '.join(unknown)}."
            )

    def stage_mixers(self, stage: int) -> list[Mixer]:
        """The mixer of every block of a stage."""
        names = self.mixers if isinstance(self.mixers, str) else self.mixers[stage]
        turns = (names,) if isinstance(names, str) else names
        return [turns[block % len(turns)] for block in range(self.depths[stage])]

    def width(self, stage: int) -> int:
        """Inner channels of the blocks of a stage."""
        return self.planes[stage] * self.base_width // 64 * self.cardinality

    @property
    def strides(self) -> tuple[int, ...]:
        """Of the first block of each stage."""
        return (1 if self.stem == "conv7" else 2,) + (2,) * (len(self.depths) - 1)


_HYBRID: Any = ("se", "se", ("cot", "se"), "cot")


def _hybrid(depths: tuple[int, ...], stem_channels: int, *, blur: bool) -> CoTNetArch:
    return CoTNetArch(
        depths, _HYBRID, stem="deep", stem_channels=stem_channels, avg_down=True, blur=blur
    )


ARCHS = {
    "50": CoTNetArch(),
    "101": CoTNetArch((3, 4, 23, 3)),
    "x50": CoTNetArch(mixers="coxt", base_width=48, cardinality=2),
    "x101": CoTNetArch((3, 4, 23, 3), "coxt", base_width=48, cardinality=2),
    "d50": _hybrid((3, 4, 6, 3), 64, blur=False),
    "d101": _hybrid((3, 4, 23, 3), 128, blur=False),
    "d152": _hybrid((3, 8, 36, 3), 128, blur=True),
    "d200": _hybrid((3, 24, 36, 3), 128, blur=True),
    "d270": _hybrid((4, 29, 53, 4), 128, blur=True),
}
"""CoTNet, CoTNeXt (x, 2x48d) and SE-CoTNetD (d) by their depth."""


def cotnet_arch(arch: str | int | Mapping[str, Any]) -> CoTNetArch:
    """The structure that a config names.

    Args:
        arch: A key of `ARCHS` (or its number), or entries of `CoTNetArch` that differ from CoTNet-50.

    Raises:
        ValueError: No such network, or no such entry.

    Example:
        >>> cotnet_arch("d101").stem, cotnet_arch(dict(depths=[2, 2, 2, 2])).depths
        ('deep', (2, 2, 2, 2))
    """
    if not isinstance(arch, Mapping):
        if str(arch) not in ARCHS:
            raise ValueError(
                f"arch must be one of {', '.join(ARCHS)} or a dict of "
                f"{', '.join(field.name for field in fields(CoTNetArch))}, got {arch!r}."
            )
        return ARCHS[str(arch)]
    known = [field.name for field in fields(CoTNetArch)]
    unknown = [name for name in arch if name not in known]
    if unknown:
        raise ValueError(f"arch has no {', '.join(unknown)}; its entries are {', '.join(known)}.")
    return CoTNetArch(**{name: _frozen(value) for name, value in arch.items()})


def _frozen(value: Any) -> Any:
    """Lists of a config as tuples, inner ones too."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(_frozen(one) for one in value)
    return value
