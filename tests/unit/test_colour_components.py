"""Exemplar-CNN's changes of colour against formulas pixel by pixel."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
from PIL import Image

from mmssl.datasets.transforms import ColourComponents, HsvPower, ViewRandom
from mmssl.datasets.transforms.colour_components import HsvChange
from tests.helpers.pictures import picture


def test_values_of_principal_components() -> None:
    """Standard deviations along the components, from scikit-learn, are scaled each by its factor."""
    from sklearn.decomposition import PCA

    image = (64 + picture()[:60, :60].astype(float) / 2).astype(np.uint8)
    params = (1.5, 0.5, 0.8)
    changed = ColourComponents().apply(image, params)
    before, after = (x.reshape(-1, 3).astype(float) for x in (image, changed))
    pca = PCA().fit(before)  # the one with the most variance first
    expected = pca.transform(before) * params[::-1]
    np.testing.assert_allclose(pca.transform(after), expected, atol=1.0)  # rounding to levels
    np.testing.assert_allclose(after.mean(0), before.mean(0), atol=0.1)


def test_values_of_hsv_pixel_by_pixel() -> None:
    params = HsvChange((0.5, 1.2, -0.05), (2.0, 0.9, 0.1), 0.1)
    image = picture()[:8, :8]
    changed = HsvPower().apply(image, params)
    for row in range(8):
        for column in range(8):
            h, s, v = colorsys.rgb_to_hsv(*(image[row, column] / 255))
            s = min(max(1.2 * s**0.5 - 0.05, 0), 1)
            v = min(max(0.9 * v**2 + 0.1, 0), 1)
            expected = 255 * np.array(colorsys.hsv_to_rgb((h + 0.1) % 1, s, v))
            # Pillow's HSV has 8 bits: the power 0.5 enlarges its steps where saturation is small
            assert np.abs(changed[row, column] - expected).max() <= 6


def test_equivalence_to_nothing() -> None:
    image = picture()
    assert np.array_equal(ColourComponents((1, 1))(image, ViewRandom(0)), image)
    there_and_back = Image.fromarray(image).convert("HSV").convert("RGB")
    found = HsvPower((1, 1), (1, 1), (0, 0), (0, 0))(image, ViewRandom(0))
    assert np.array_equal(found, there_and_back)


def test_equivalence_of_the_backends_and_one_colour() -> None:
    for transform in (ColourComponents(), HsvPower()):
        image = picture()
        on_pil = transform(Image.fromarray(image), ViewRandom(3))
        assert np.array_equal(transform(image, ViewRandom(3)), np.asarray(on_pil))
        assert not np.array_equal(image, on_pil)
    flat = np.full((5, 4, 3), 77, np.uint8)
    assert np.array_equal(ColourComponents().apply(flat, (2.0, 0.5, 1.0)), flat)


def test_values_of_the_draws() -> None:
    """Ranges are those of the article, and a factor is as likely as its inverse."""
    components, power = ColourComponents(), HsvPower()
    drawn = [components.draw_params(ViewRandom(0, index=i), (4, 4)) for i in range(2000)]
    factors = np.array(drawn)
    assert factors.min() >= 0.5 and factors.max() <= 2.0
    # 6000 signs: a share beyond 0.5 +- 0.03 has a chance of 1e-5
    assert abs((factors > 1).mean() - 0.5) < 0.03
    changes = [power.draw_params(ViewRandom(0, index=i), (4, 4)) for i in range(500)]
    for part in ("saturation", "value"):
        values = np.array([getattr(change, part) for change in changes])
        assert (values.min(0) >= (0.25, 0.7, -0.1)).all() and (values.max(0) <= (4, 1.4, 0.1)).all()
        assert (values.min(0) < (0.3, 0.75, -0.09)).all() and (
            values.max(0) > (3.5, 1.35, 0.09)
        ).all()
    assert all(-0.1 <= change.hue <= 0.1 for change in changes)


def test_raises() -> None:
    with pytest.raises(ValueError, match=r"ColourComponents\.factor must be two positive"):
        ColourComponents((0, 2))
    with pytest.raises(ValueError, match=r"HsvPower\.power must be two positive"):
        HsvPower((4, 0.25))
