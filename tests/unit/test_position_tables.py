"""Position tables of other windows: bicubic as the families resize them."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from mmssl.convert.position_tables import fit_position_table, resize_position_table


def test_values_each_heads_image_is_interpolated_alone() -> None:
    torch.manual_seed(0)
    table = torch.randn(169, 3)
    resized = resize_position_table(table, 14)
    assert resized.shape == (729, 3)
    for head in range(3):
        image = table[:, head].view(1, 1, 13, 13)
        expected = F.interpolate(image, (27, 27), mode="bicubic", align_corners=False)
        torch.testing.assert_close(resized[:, head].view(27, 27), expected[0, 0])


def test_values_rows_stay_rows() -> None:
    """A ramp along rows stays one: constant along columns, rising along rows, with its middle."""
    ramp = torch.arange(-6.0, 7.0).repeat_interleave(13)[:, None]
    resized = resize_position_table(ramp, 14).view(27, 27)
    torch.testing.assert_close(resized, resized[:, :1].expand(27, 27))
    assert bool((resized[1:, 0] > resized[:-1, 0]).all())
    assert abs(float(resized[13, 0])) < 1e-6
    inner = (resized[20, 0] - resized[6, 0]) / 14
    # the kernel of -0.75 does not keep slopes exactly
    torch.testing.assert_close(inner, torch.tensor(13 / 27), rtol=0.02, atol=0)


def test_values_same_size_is_the_same_table() -> None:
    table = torch.randn(169, 2)
    assert resize_position_table(table, 7) is table


@pytest.mark.parametrize(
    ("rows", "shape", "fits"),
    [
        (169, (729, 2), True),
        (729, (169, 2), True),
        (169, (729, 3), False),
        (172, (729, 2), False),
        (169, (730, 2), False),
        (169, (729,), False),
        (144, (169, 2), False),
    ],
)
def test_values_what_can_be_fitted(rows: int, shape: tuple[int, ...], fits: bool) -> None:
    fitted = fit_position_table(torch.zeros(rows, 2), shape)
    assert (fitted is not None) == fits
    assert fitted is None or fitted.shape == shape


def test_raises_rows_that_are_no_window() -> None:
    with pytest.raises(ValueError, match="got 170"):
        resize_position_table(torch.zeros(170, 2), 7)
