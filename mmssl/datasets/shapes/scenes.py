"""One picture of Shapes: objects on a textured ground, with labels, boxes and visible masks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .drawing import (
    BODY_TEXTURES,
    CONTOURS,
    LATTICE,
    MATERIALS,
    RIM_WIDTH,
    SPOT_AT,
    SPOT_RADIUS,
    Field,
    clip01,
    mosaic,
    norm,
    soften,
    value_noise,
)
from .draws import Draws, unit_vector
from .taxonomy import LEAVES

# Palettes are shared by all images: a colour of its own would tell an image from the others, and
# self-supervision would learn that instead of shape and texture. Bodies are dark, marks light and
# accents between, so that contour, texture and detail look alike in grey, whatever the colours.
BODY_COLOURS = ((44, 50, 68), (64, 40, 90), (24, 74, 64), (96, 32, 40))
MARK_COLOURS = ((232, 222, 196), (240, 200, 120), (220, 180, 200), (190, 220, 235))
ACCENT_COLOURS = ((206, 78, 58), (214, 136, 60), (84, 150, 84), (80, 130, 190))
GROUND_COLOURS = (
    (148, 148, 132),
    (157, 148, 132),
    (140, 142, 138),
    (149, 140, 129),
    (135, 135, 124),
    (161, 157, 144),
)
MIN_VISIBLE = 0.5
DIFFICULTIES = {"easy": 0.0, "default": 0.12, "hard": 0.5}


class SceneObject(NamedTuple):
    """One object of a picture, as far as it can be seen.

    Attributes:
        leaf: leaf class, 0 to 23.
        box: (left, top, right, bottom) of the visible mask in pixels, right and bottom exclusive.
        mask: (H, W) bool, the visible pixels.
        hidden: share of the object's pixels inside the picture that something covers.
    """

    leaf: int
    box: tuple[int, int, int, int]
    mask: np.ndarray
    hidden: float


class Pose(NamedTuple):
    """Where a body lies: centre and radius in pixels, and its two axes per pixel."""

    x: float
    y: float
    radius: float
    axis_x: tuple[float, float]
    axis_y: tuple[float, float]


def difficulty_value(difficulty: float | str) -> float:
    """Return the difficulty as a number.

    Args:
        difficulty: ``easy`` (0), ``default`` (0.12), ``hard`` (0.5) or a number in [0, 1].

    Raises:
        ValueError: for another name or a number outside [0, 1].

    Example:
        >>> difficulty_value("hard")
        0.5
    """
    if isinstance(difficulty, str):
        if difficulty not in DIFFICULTIES:
            names = ", ".join(DIFFICULTIES)
            raise ValueError(f"difficulty is one of {names} or a number, got {difficulty!r}")
        return DIFFICULTIES[difficulty]
    if not 0 <= difficulty <= 1:
        raise ValueError(f"difficulty lies between 0 and 1, got {difficulty}")
    return float(difficulty)


def _rgb(colour: tuple[int, int, int]) -> np.ndarray:
    return np.array(colour, np.float32)


def _mix(base: Field, other: Field, share: Field) -> Field:
    """Blend two images or colours by a (H, W) share of the second."""
    return base + (other - base) * share[..., None]


def _grid(height: int, width: int, top: int = 0, left: int = 0) -> tuple[Field, Field]:
    y = np.arange(top, top + height, dtype=np.float32)[:, None] + np.float32(0.5)
    x = np.arange(left, left + width, dtype=np.float32)[None, :] + np.float32(0.5)
    return np.broadcast_to(x, (height, width)), np.broadcast_to(y, (height, width))


def _material(draws: Draws, x: Field, y: Field, cell: float) -> Field:
    cos, sin = (np.float32(v / cell) for v in unit_vector(draws.uniform()))
    return draws.choice(MATERIALS)(draws, x * cos - y * sin, x * sin + y * cos)


def _ground(draws: Draws, height: int, width: int, difficulty: float) -> Field:
    """Pavement of small tiles in all ground colours.

    Every picture holds every colour, so the ground tells no picture from another and crops of one
    picture agree in what lies on it; whatever tells pictures apart, self-supervision learns first.
    """
    x, y = _grid(height, width)
    rate = np.float32(1 / draws.uniform(13.0, 17.0))
    at_x, at_y = (np.float32(draws.uniform() * LATTICE) for _ in range(2))
    kind = mosaic(draws, x * rate + at_x, y * rate + at_y)
    colours = np.array(GROUND_COLOURS, np.float32)
    tiles = colours[(kind * np.float32(len(colours))).astype(np.int32)]
    fine = value_noise(draws.array(LATTICE, LATTICE), x * np.float32(0.35), y * np.float32(0.35))
    return tiles + (fine - np.float32(0.5))[..., None] * np.float32(20 + 80 * difficulty)


def _pose(draws: Draws, x: float, y: float, radius: float, difficulty: float) -> Pose:
    turn = min(0.5, difficulty)
    cos, sin = unit_vector(draws.uniform(-turn, turn))
    aspect = 1.0 + draws.uniform(-0.4, 0.4) * difficulty
    wide, high = radius * aspect**0.5, radius / aspect**0.5
    skew = draws.uniform(-0.4, 0.4) * difficulty
    axis_x = (cos / wide, sin / wide)
    axis_y = (-sin / high + skew * axis_x[0], cos / high + skew * axis_x[1])
    return Pose(x, y, radius, axis_x, axis_y)


def _paint(
    canvas: Field,
    draws: Draws,
    leaf: int,
    pose: Pose,
    light: tuple[float, float],
    difficulty: float,
) -> np.ndarray:
    """Paint one body onto ``canvas`` in place and return its (H, W) bool mask."""
    height, width = canvas.shape[:2]
    family, texture, detail = LEAVES[leaf]
    reach = pose.radius * 1.9 + 3
    left, right = max(0, int(pose.x - reach)), min(width, int(pose.x + reach) + 1)
    top, bottom = max(0, int(pose.y - reach)), min(height, int(pose.y + reach) + 1)
    mask = np.zeros((height, width), bool)
    # Parameters are drawn before the early return: what follows must not depend on the clipping.
    palettes = (BODY_COLOURS, MARK_COLOURS, ACCENT_COLOURS)
    body, mark, accent = (_rgb(draws.choice(palette)) for palette in palettes)
    contrast = np.float32(1.0 - draws.uniform(0.0, 0.8) * difficulty)
    texture_turn = unit_vector(draws.uniform(-0.2, 0.2) * difficulty)
    rate = 1.0 + draws.uniform(-0.5, 0.5) * difficulty
    shift = draws.uniform(), draws.uniform()
    wobble_lattice = draws.array(2, LATTICE, LATTICE)
    if left >= right or top >= bottom:
        return mask

    x, y = _grid(bottom - top, right - left, top, left)
    dx, dy = x - np.float32(pose.x), y - np.float32(pose.y)
    u = dx * np.float32(pose.axis_x[0]) + dy * np.float32(pose.axis_x[1])
    v = -(dx * np.float32(pose.axis_y[0]) + dy * np.float32(pose.axis_y[1]))
    wobble = np.float32(0.22 * difficulty)
    near = np.float32(1.5)
    bent_u = u + (value_noise(wobble_lattice[0], u * near, v * near) - np.float32(0.5)) * wobble
    bent_v = v + (value_noise(wobble_lattice[1], u * near, v * near) - np.float32(0.5)) * wobble
    distance = CONTOURS[family](bent_u, bent_v)
    pixels = np.float32(pose.radius)
    cover = clip01(np.float32(0.5) - distance * pixels)

    turn_x, turn_y = (np.float32(t * rate) for t in texture_turn)
    on_x = bent_u * turn_x - bent_v * turn_y + np.float32(shift[0])
    on_y = bent_u * turn_y + bent_v * turn_x + np.float32(shift[1])
    colour = _mix(body, mark, BODY_TEXTURES[texture](on_x, on_y) * contrast)
    if detail == "rimmed":
        rim = clip01((distance + np.float32(RIM_WIDTH)) * pixels + np.float32(0.5))
        colour = _mix(colour, accent, rim)
    else:
        spot_x, spot_y = SPOT_AT[family]
        away = norm(bent_u - np.float32(spot_x), bent_v - np.float32(spot_y))
        radius = np.float32(SPOT_RADIUS)
        colour = _mix(colour, accent, clip01((radius - away) * pixels + np.float32(0.5)))

    # The light comes from one side; the body is a little domed and throws a soft shadow.
    slope = (dx * np.float32(light[0]) + dy * np.float32(light[1])) / pixels
    shade = np.float32(1) + slope * np.float32(0.18) + np.maximum(distance, -0.5) * np.float32(-0.2)
    window = canvas[top:bottom, left:right]
    fall_x, fall_y = (np.float32(-0.16 * c) for c in light)
    shadow = CONTOURS[family](bent_u - fall_x, bent_v + fall_y)
    dark = clip01(np.float32(0.6) - shadow * np.float32(4)) * np.float32(0.45)
    window *= np.float32(1) - dark[..., None]
    window += (colour * shade[..., None] - window) * cover[..., None]
    mask[top:bottom, left:right] = cover > 0.5
    return mask


def _blade(draws: Draws, height: int, width: int, difficulty: float) -> tuple[Field, Field]:
    """A strip of ground material lying across the picture: its (H, W) cover and its colours."""
    x, y = _grid(height, width)
    cos, sin = (np.float32(c) for c in unit_vector(draws.uniform()))
    centre_x, centre_y = draws.uniform(0.15, 0.85) * width, draws.uniform(0.15, 0.85) * height
    along = (x - np.float32(centre_x)) * cos + (y - np.float32(centre_y)) * sin
    across = (x - np.float32(centre_x)) * sin - (y - np.float32(centre_y)) * cos
    side = min(height, width)
    half_length = np.float32(draws.uniform(0.15, 0.4) * side)
    half_width = np.float32(draws.uniform(0.02, 0.02 + 0.05 * difficulty) * side)
    taper = np.float32(1) - clip01(np.abs(along) / half_length)
    cover = clip01(half_width * np.sqrt(taper) - np.abs(across) + np.float32(0.5))
    cover = cover * clip01(half_length - np.abs(along))
    tone = _rgb(draws.choice(GROUND_COLOURS)) * np.float32(draws.uniform(0.5, 1.1))
    field = _material(draws, x, y, 10.0) - np.float32(0.5)
    return cover, tone + field[..., None] * np.float32(60)


def _expose(
    canvas: Field, draws: Draws, light: tuple[float, float], difficulty: float
) -> np.ndarray:
    """Apply uneven light, blur, contrast and sensor noise; return uint8."""
    height, width = canvas.shape[:2]
    x, y = _grid(height, width)
    slope = (x - np.float32(width / 2)) * np.float32(light[0] / width)
    slope = slope + (y - np.float32(height / 2)) * np.float32(light[1] / height)
    uneven = np.float32(draws.uniform(0.0, 0.9) * difficulty)
    gain = np.float32(1 + draws.uniform(-0.4, 0.3) * difficulty)
    canvas = canvas * ((np.float32(1) + slope * uneven) * gain)[..., None]
    canvas = soften(canvas, draws.integer(0, int(3 * difficulty + 0.9)))
    flat = np.float32(1 - draws.uniform(0.0, 0.5) * difficulty)
    canvas = (canvas - np.float32(128)) * flat + np.float32(128)
    grain = draws.array(height, width, 3) + draws.array(height, width, 3) - np.float32(1)
    canvas = canvas + grain * np.float32(draws.uniform(0.0, 40.0) * difficulty)
    return np.floor(np.minimum(np.maximum(canvas, 0), 255) + np.float32(0.5)).astype(np.uint8)


def _extent(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _compose(
    draws: Draws, size: int, bodies: list[tuple[int, Pose]], difficulty: float
) -> tuple[np.ndarray, list[SceneObject]]:
    """Paint the ground, the bodies from back to front, and what covers them."""
    light = unit_vector(draws.uniform())
    canvas = _ground(draws, size, size, difficulty)
    whole: list[np.ndarray] = []
    visible: list[np.ndarray] = []
    for leaf, pose in bodies:
        mask = _paint(canvas, draws, leaf, pose, light, difficulty)
        visible = [seen & ~mask for seen in visible]
        whole.append(mask)
        visible.append(mask)

    def clear_enough(seen: np.ndarray, full: np.ndarray) -> bool:
        return np.count_nonzero(seen) >= MIN_VISIBLE * np.count_nonzero(full)

    for _ in range(draws.integer(0, int(4 * difficulty + 0.9))):
        cover, tone = _blade(draws, size, size, difficulty)
        left = [seen & ~(cover > 0.5) for seen in visible]
        if all(clear_enough(*pair) for pair in zip(left, whole, strict=True)):
            canvas = _mix(canvas, tone, cover)
            visible = left
    image = _expose(canvas, draws, light, difficulty)
    objects = [
        SceneObject(
            leaf=leaf,
            box=_extent(seen),
            mask=seen,
            hidden=1 - np.count_nonzero(seen) / np.count_nonzero(full),
        )
        for (leaf, _), seen, full in zip(bodies, visible, whole, strict=True)
        if seen.any()
    ]
    return image, objects


def draw_scene(
    draws: Draws,
    *,
    size: int = 96,
    min_objects: int = 1,
    max_objects: int = 5,
    flock: float = 1.0,
    difficulty: float | str = "default",
) -> tuple[np.ndarray, list[SceneObject]]:
    """Draw a scene of a few objects.

    Args:
        draws: random numbers of this picture.
        size: height and width in pixels.
        min_objects: smallest number of objects that are tried; crowded ones may find no room.
        max_objects: largest number of objects.
        flock: probability that all objects of the scene belong to one leaf class; otherwise each
            object draws its own.
        difficulty: see :func:`difficulty_value`.

    Returns:
        The image, (size, size, 3) uint8 RGB, and its objects from back to front.
    """
    value = difficulty_value(difficulty)
    count = draws.integer(min_objects, max_objects)
    together = draws.happens(flock)
    leader = draws.integer(0, len(LEAVES) - 1)
    largest = (0.4, 0.34, 0.3, 0.27, 0.25)[min(count, 5) - 1]
    bodies: list[tuple[int, Pose]] = []
    for _ in range(count):
        leaf = draws.integer(0, len(LEAVES) - 1)
        radius = draws.uniform(0.72, 1.0) * largest * size
        for _ in range(12):
            x, y = (draws.uniform(0.75 * radius, size - 0.75 * radius) for _ in range(2))
            far = all(
                (x - p.x) * (x - p.x) + (y - p.y) * (y - p.y) > (0.85 * (radius + p.radius)) ** 2
                for _, p in bodies
            )
            if far:
                pose = _pose(draws, x, y, radius, value)
                bodies.append((leader if together else leaf, pose))
                break
    return _compose(draws, size, bodies, value)


def draw_single(
    draws: Draws, leaf: int, *, size: int = 64, difficulty: float | str = "default"
) -> tuple[np.ndarray, SceneObject]:
    """Draw one object of a given class, anywhere in the picture.

    Size and place vary as they do in crops of scenes, so that pixels of two pictures of a class
    hardly match.

    Args:
        draws: random numbers of this picture.
        leaf: leaf class, 0 to 23.
        size: height and width in pixels.
        difficulty: see :func:`difficulty_value`.

    Returns:
        The image, (size, size, 3) uint8 RGB, and the object.
    """
    value = difficulty_value(difficulty)
    radius = draws.uniform(0.2, 0.4) * size
    room = 0.5 * size - 0.85 * radius
    x, y = (0.5 * size + draws.uniform(-room, room) for _ in range(2))
    image, objects = _compose(draws, size, [(leaf, _pose(draws, x, y, radius, value))], value)
    return image, objects[0]
