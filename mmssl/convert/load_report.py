"""What loading weights into a module did, and whether that is acceptable."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


def weights_checksum(state_dict: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of tensors, independent of their order.

    Example:
        >>> a, b = torch.zeros(2), torch.ones(1)
        >>> weights_checksum({'a': a, 'b': b}) == weights_checksum({'b': b, 'a': a})
        True
    """
    digest = hashlib.sha256()
    for name in sorted(state_dict):
        tensor = state_dict[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _some(names: Sequence[str], limit: int = 8) -> str:
    more = f", and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


@dataclass(frozen=True)
class LoadReport:
    """The outcome of loading a file into a module.

    Attributes:
        source: The file.
        layout: Where in the file the weights were found, for example `state_dict / module.encoder_q.*`.
        branch: `online` or `twin`.
        matched: Names (of the module) that were loaded.
        missing: Names of the module that the file lacks (BatchNorm's `num_batches_tracked` excepted).
        mismatched: "name: (shape in the file) for (shape of the module)" of tensors of another shape.
        unexpected: Names of the file that the module has no place for, such as heads.
        deeper: Those of `unexpected` that lie inside a part that the module has: blocks of a deeper
            network, which would be dropped silently.
        checksum: `weights_checksum` of what was loaded.
        resized: "name: (shape in the file) to (shape of the module)" of position tables that were
            interpolated to another window; they are among `matched`.
        fresh: Names that the file lacks because pretraining has none of them (`fresh_names`).
    """

    source: str
    layout: str
    branch: Literal["online", "twin"]
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    mismatched: tuple[str, ...]
    unexpected: tuple[str, ...]
    deeper: tuple[str, ...]
    checksum: str
    resized: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every tensor of the module was loaded, and from a network of the same depth."""
        return bool(self.matched) and not (self.missing or self.mismatched or self.deeper)

    def __str__(self) -> str:
        lines = [
            f"Weights of {self.source} ({self.layout}; {self.branch}): {len(self.matched)} matched, "
            f"{len(self.missing)} missing, {len(self.mismatched)} of another shape, "
            f"{len(self.unexpected)} unexpected; checksum {self.checksum[:16]}."
        ]
        for label, names in (
            ("missing", self.missing),
            ("another shape", self.mismatched),
            ("of a deeper network", self.deeper),
            ("resized", self.resized),
            ("without pretrained weights", self.fresh),
            ("unexpected", tuple(sorted(set(self.unexpected) - set(self.deeper)))),
        ):
            if names:
                lines.append(f"  {label}: {_some(names)}")
        return "\n".join(lines)

    def check(self, *, allow_partial: bool = False) -> None:
        """Refuse a load that left the module (partly) at its old values.

        Args:
            allow_partial: Accept missing, mismatching and deeper tensors, but never zero matches.

        Raises:
            ValueError: Nothing matched, or something is incomplete and `allow_partial` is false.
        """
        if not self.matched:
            raise ValueError(f"Nothing was loaded from {self.source}: {self._differences()}.")
        if not (self.complete or allow_partial):
            raise ValueError(
                f"{self.source} does not fit the network: {self._differences()}. Give the network the "
                "architecture of the file (depth, width, name)."
            )

    def _differences(self) -> str:
        """How file and network differ, with the first tensors of each kind."""
        kinds = (
            ("missing", self.missing),
            ("of another shape", self.mismatched),
            ("of a deeper network", self.deeper),
        )
        told = "; ".join(
            f"{len(names)} {kind}: {_some(names, 3)}" for kind, names in kinds if names
        )
        return f"{len(self.matched)} matched, {told}"
