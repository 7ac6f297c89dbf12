"""The 24 classes of Shapes: contour family > species (its texture) > variety (its detail).

Colour never defines a class, because the augmentations of self-supervised learning destroy it.
"""

from __future__ import annotations

from typing import NamedTuple

FAMILIES = ("star", "heart", "moon", "clover")
TEXTURES = ("plain", "striped", "dotted")
DETAILS = ("rimmed", "spotted")
LEVELS = ("family", "species", "variety")


class Leaf(NamedTuple):
    """One of the 24 leaf classes.

    Attributes:
        family: contour, one of :data:`FAMILIES`.
        texture: texture of the body, one of :data:`TEXTURES`.
        detail: mark on the body, one of :data:`DETAILS`.
    """

    family: str
    texture: str
    detail: str

    @property
    def name(self) -> str:
        """The class name on disk, e.g. ``star_striped_rimmed``."""
        return f"{self.family}_{self.texture}_{self.detail}"

    def at(self, level: str) -> str:
        """Return the name of this leaf's ancestor.

        Args:
            level: one of :data:`LEVELS`.

        Returns:
            ``star``, ``star_striped`` or ``star_striped_rimmed``.

        Raises:
            ValueError: if ``level`` is not a level of the hierarchy.

        Example:
            >>> LEAVES[0].at("species")
            'star_plain'
        """
        if level not in LEVELS:
            raise ValueError(f"expected a level among {LEVELS}, got {level!r}")
        return "_".join(self[: LEVELS.index(level) + 1])


LEAVES = tuple(Leaf(f, t, d) for f in FAMILIES for t in TEXTURES for d in DETAILS)


def categories(level: str) -> tuple[str, ...]:
    """Return the class names of a level, in the order of their ids (0-based).

    Args:
        level: one of :data:`LEVELS`.

    Returns:
        4 families, 12 species or 24 varieties.
    """
    return tuple(dict.fromkeys(leaf.at(level) for leaf in LEAVES))


def category_id(leaf: int, level: str) -> int:
    """Return the 0-based id, at ``level``, of the class that holds a leaf.

    Args:
        leaf: leaf id, 0 to 23.
        level: one of :data:`LEVELS`.

    Returns:
        Position in ``categories(level)``.

    Example:
        >>> category_id(23, "family")
        3
    """
    return categories(level).index(LEAVES[leaf].at(level))


def hierarchy() -> dict[str, object]:
    """Describe the hierarchy as written to ``classes.json``.

    Returns:
        ``levels`` (names per level in id order) and ``leaves`` (per leaf its name, its species
        and family, and the ids of all three).
    """
    return {
        "levels": {level: list(categories(level)) for level in LEVELS},
        "leaves": [
            {
                "id": i,
                "name": leaf.name,
                "species": leaf.at("species"),
                "species_id": category_id(i, "species"),
                "family": leaf.at("family"),
                "family_id": category_id(i, "family"),
                "texture": leaf.texture,
                "detail": leaf.detail,
            }
            for i, leaf in enumerate(LEAVES)
        ],
    }
