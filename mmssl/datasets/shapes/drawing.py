"""Contours, textures, details and background materials as functions of coordinates.

Everything is built from elementwise float32 sums, products, quotients, square roots, floors and
comparisons, which IEEE 754 rounds identically everywhere; there is no reduction, matrix product or
transcendental function, so the pixels are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .draws import Draws, unit_vector

Field = np.ndarray
LATTICE = 16
# Object axes: the body fills about the unit circle, y points up. Where a spot sits on each body:
SPOT_AT = {"star": (0.0, 0.0), "heart": (0.0, 0.1), "moon": (-0.6, 0.0), "clover": (0.0, 0.0)}
SPOT_RADIUS = 0.29
RIM_WIDTH = 0.14


def clip01(x: Field) -> Field:
    """Limit to [0, 1]."""
    return np.minimum(np.maximum(x, np.float32(0)), np.float32(1))


def norm(x: Field, y: Field) -> Field:
    """Return the Euclidean length of (x, y), elementwise."""
    return np.sqrt(x * x + y * y)


def wave(x: Field) -> Field:
    """Triangle wave of period 1 between 0 (at integers) and 1 (half-way)."""
    return np.float32(1) - np.abs((x - np.floor(x)) * np.float32(2) - np.float32(1))


def star_contour(x: Field, y: Field) -> Field:
    """Signed distance (negative inside) to a five-pointed star."""
    x = np.abs(x)
    # Mirror lines at 108 and 36 degrees from the upper point fold the plane onto that point.
    for degrees in (108, 36):
        normal_x, normal_y = unit_vector(degrees / 360)
        over = np.maximum(x * np.float32(normal_x) - y * np.float32(normal_y), np.float32(0))
        x = x - over * np.float32(2 * normal_x)
        y = y + over * np.float32(2 * normal_y)
    cos36, sin36 = unit_vector(0.1)
    inner = 0.5
    edge_x, edge_y = 1 - inner * cos36, inner * sin36
    length = (edge_x * edge_x + edge_y * edge_y) ** 0.5
    tip = np.float32(1.12)
    return np.abs(x) * np.float32(edge_x / length) + (y - tip) * np.float32(edge_y / length)


def heart_contour(x: Field, y: Field) -> Field:
    """Signed distance (inside: a bound) to a heart: a square on its corner and two discs."""
    scale = np.float32(0.86)
    x, y = np.abs(x) / scale, (y + np.float32(0.05)) / scale
    square = (x + np.abs(y) - np.float32(1)) * np.float32(0.5**0.5)
    disc = norm(x - np.float32(0.5), y - np.float32(0.5)) - np.float32(0.5**0.5)
    return np.minimum(square, disc) * scale


def moon_contour(x: Field, y: Field) -> Field:
    """Signed distance (a bound) to a crescent: a disc less a shifted smaller disc."""
    bite = np.float32(0.8) - norm(x - np.float32(0.6), y)
    return np.maximum(norm(x, y) - np.float32(1), bite)


def clover_contour(x: Field, y: Field) -> Field:
    """Signed distance (inside: a bound) to four discs around a fifth."""
    lobe = norm(np.abs(x) - np.float32(0.47), np.abs(y) - np.float32(0.47)) - np.float32(0.5)
    return np.minimum(lobe, norm(x, y) - np.float32(0.3))


def striped_texture(x: Field, y: Field) -> Field:
    """Bars across the body, 1 on a bar and 0 between."""
    return clip01((wave(y * np.float32(2.0)) - np.float32(0.5)) * np.float32(3) + np.float32(0.5))


def dotted_texture(x: Field, y: Field) -> Field:
    """Round dots on a square grid, 1 on a dot."""
    cells = np.float32(1.9)
    u, v = x * cells, y * cells
    distance = norm(u - np.floor(u) - np.float32(0.5), v - np.floor(v) - np.float32(0.5))
    return clip01((np.float32(0.33) - distance) * np.float32(6) + np.float32(0.5))


def plain_texture(x: Field, y: Field) -> Field:
    """No texture: 0 everywhere."""
    return np.zeros_like(x)


CONTOURS: dict[str, Callable[[Field, Field], Field]] = {
    "star": star_contour,
    "heart": heart_contour,
    "moon": moon_contour,
    "clover": clover_contour,
}
BODY_TEXTURES: dict[str, Callable[[Field, Field], Field]] = {
    "plain": plain_texture,
    "striped": striped_texture,
    "dotted": dotted_texture,
}


def value_noise(lattice: np.ndarray, x: Field, y: Field) -> Field:
    """Smooth noise in [0, 1): lattice values blended over unit cells, periodic.

    Args:
        lattice: (16, 16) float32 random values.
        x: coordinates in cells, any shape.
        y: coordinates in cells, same shape.
    """
    floor_x, floor_y = np.floor(x), np.floor(y)
    u, v = x - floor_x, y - floor_y
    u = u * u * (np.float32(3) - np.float32(2) * u)
    v = v * v * (np.float32(3) - np.float32(2) * v)
    column = floor_x.astype(np.int32) & (LATTICE - 1)
    row = (floor_y.astype(np.int32) & (LATTICE - 1)) * LATTICE
    column_1 = (column + 1) & (LATTICE - 1)
    row_1 = (row + LATTICE) & (LATTICE * LATTICE - 1)
    flat = lattice.ravel()
    top, top_1 = flat[row + column], flat[row + column_1]
    low, low_1 = flat[row_1 + column], flat[row_1 + column_1]
    top = top + (top_1 - top) * u
    low = low + (low_1 - low) * u
    return top + (low - top) * v


def cloud_material(draws: Draws, x: Field, y: Field) -> Field:
    """Two octaves of smooth noise."""
    coarse = value_noise(draws.array(LATTICE, LATTICE), x, y)
    fine = value_noise(draws.array(LATTICE, LATTICE), x * np.float32(3), y * np.float32(3))
    return coarse * np.float32(0.6) + fine * np.float32(0.4)


def grain_material(draws: Draws, x: Field, y: Field) -> Field:
    """Wood: noise stretched along one direction."""
    return value_noise(draws.array(LATTICE, LATTICE), x * np.float32(0.5), y * np.float32(4))


def stone_material(draws: Draws, x: Field, y: Field) -> Field:
    """Rounded cells: distance to the nearest of one random point per cell."""
    points = draws.array(2, LATTICE * LATTICE)
    x, y = x * np.float32(1.6), y * np.float32(1.6)
    floor_x, floor_y = np.floor(x), np.floor(y)
    column, row = floor_x.astype(np.int32), floor_y.astype(np.int32)
    u, v = x - floor_x, y - floor_y
    nearest = np.full_like(x, 4)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            cell = ((row + dy) & (LATTICE - 1)) * LATTICE + ((column + dx) & (LATTICE - 1))
            away_x = points[0][cell] + np.float32(dx) - u
            away_y = points[1][cell] + np.float32(dy) - v
            nearest = np.minimum(nearest, away_x * away_x + away_y * away_y)
    return clip01(np.sqrt(nearest))


def cloth_material(draws: Draws, x: Field, y: Field) -> Field:
    """Woven threads in two directions, bent by noise."""
    bend = value_noise(draws.array(LATTICE, LATTICE), x, y) * np.float32(0.8)
    threads = wave(x * np.float32(1.5) + bend) + wave(y * np.float32(1.5) - bend)
    return threads * np.float32(0.5)


def mosaic(draws: Draws, x: Field, y: Field) -> Field:
    """Irregular tiles: for every point a random number in [0, 1) that is constant on its tile.

    Args:
        draws: random numbers of the picture.
        x: coordinates in tiles, any shape.
        y: coordinates in tiles, same shape.
    """
    points, kinds = draws.array(2, LATTICE * LATTICE), draws.array(LATTICE * LATTICE)
    floor_x, floor_y = np.floor(x), np.floor(y)
    column, row = floor_x.astype(np.int32), floor_y.astype(np.int32)
    u, v = x - floor_x, y - floor_y
    nearest, kind = np.full_like(x, 4), np.zeros_like(x)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            cell = ((row + dy) & (LATTICE - 1)) * LATTICE + ((column + dx) & (LATTICE - 1))
            away_x = points[0][cell] + np.float32(dx) - u
            away_y = points[1][cell] + np.float32(dy) - v
            away = away_x * away_x + away_y * away_y
            closer = away < nearest
            nearest, kind = np.where(closer, away, nearest), np.where(closer, kinds[cell], kind)
    return kind


MATERIALS = (cloud_material, grain_material, stone_material, cloth_material)


def soften(image: Field, passes: int) -> Field:
    """Blur with the kernel (1, 2, 1) / 4 in both directions, edges repeated.

    Args:
        image: (H, W, 3) float32.
        passes: how often; the standard deviation is sqrt(passes / 2) pixels.
    """
    for _ in range(passes):
        for axis in (0, 1):
            width = [(0, 0)] * 3
            width[axis] = (1, 1)
            wide = np.pad(image, width, mode="edge")
            count = image.shape[axis]
            before = wide.take(range(count), axis)
            after = wide.take(range(2, count + 2), axis)
            image = (before + after) * np.float32(0.25) + image * np.float32(0.5)
    return image
