"""The photometric half in batches on the training device, from the rows that the workers packed.

Every image has its own parameters; there is no loop over images. Values are float32 in 0..255. The
colour ops cut off fractions as their 8-bit versions do, blur does not round; both paths agree to
about one level per op (the tolerances stand in `tests/unit/test_transforms_device.py`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .photometric import (
    CONTRAST,
    HUE,
    LUMA,
    SATURATION,
    ColorJitter,
    GaussianBlur,
    RandomGrayscale,
    Solarize,
)

# A whole number must not lose one level because float32 puts it just below itself.
_ROUNDING_ERROR = 1e-3


def apply_photometric(images: Tensor, rows: Tensor) -> Tensor:
    """Run packed photometric ops on a batch.

    Args:
        images: (B, 3, H, W) RGB in 0..255, any dtype, on the training device.
        rows: (B, P) float32 packed parameters, on the CPU: which images an op concerns is decided
            there, so that the device never has to be waited for.

    Returns:
        (B, 3, H, W) float32 RGB in 0..255. Computed in float32 under autocast too.

    Raises:
        ValueError: The rows are not those of this batch or of this version.
    """
    if rows.ndim != 2 or len(rows) != len(images):
        raise ValueError(
            f"Expected one row of photometric parameters per image ({len(images)}), got the shape "
            f"{tuple(rows.shape)}."
        )
    rows = rows.cpu()
    with torch.autocast(device_type=images.device.type, enabled=False):
        images = images.float()
        start = 0
        while start < rows.shape[1]:
            code = int(rows[0, start])
            if code not in _OPS:
                raise ValueError(
                    f"Unknown photometric op {code} in column {start}; known are {sorted(_OPS)}."
                )
            size, op = _OPS[code]
            part = rows[:, start : start + size]
            if part.shape[1] != size or not bool((part[:, 0] == code).all()):
                raise ValueError("The images of a view must share one sequence of photometric ops.")
            if bool(part[:, 1].any()):
                images = op(images, part[:, 1].bool(), part[:, 2:])
            start += size
    return images


def jitter(images: Tensor, active: Tensor, params: Tensor) -> Tensor:
    """Brightness, contrast, saturation and hue, per image in its own order.

    The first three blend with a reference, x -> f x + (1 - f) r with r = 0, the mean luma or the
    own luma, so one pass per position serves all of them; hue runs on the images whose turn it is.

    Args:
        images: (B, 3, H, W) in 0..255.
        active: (B,) bool on the CPU: which images to change.
        params: (B, 8) on the CPU: the four op numbers in order, the four factors.
    """
    order, factors = params[:, :4].long(), params[:, 4:]
    for position in range(4):
        op = order[:, position]
        factor = factors.gather(1, op[:, None])[:, 0]
        blends = active & (op != HUE)
        settings = torch.stack(
            [
                torch.where(blends, factor, 1.0),
                (blends & (op == CONTRAST)).float(),
                (blends & (op == SATURATION)).float(),
            ],
            dim=1,
        )
        settings = settings.to(images.device, non_blocking=True).view(-1, 3, 1, 1, 1)
        scale, by_mean, by_luma = settings.unbind(1)
        luma = _luma(images)
        mean = (luma.mean(dim=(2, 3), keepdim=True) + 0.5).floor()
        images = scale * images + (1 - scale) * (by_mean * mean + by_luma * luma)
        images = (images + _ROUNDING_ERROR).floor().clamp(0, 255)
        # The workers shift an 8-bit hue, truncated towards zero: the same shift here.
        shift = (factor * 255).trunc() / 255
        turned = (active & (op == HUE) & (shift != 0)).nonzero()[:, 0]
        if len(turned):
            index = turned.to(images.device, non_blocking=True)
            shift = shift[turned].to(images.device, non_blocking=True)
            images = images.index_copy(0, index, _shift_hue(images[index], shift))
    return images


def grayscale(images: Tensor, active: Tensor, params: Tensor) -> Tensor:
    """Three channels of luma for the active images; `params` is (B, 0)."""
    return torch.where(_as_mask(active, images), _luma(images), images)


def gaussian_blur(images: Tensor, active: Tensor, params: Tensor) -> Tensor:
    """Separable blur with a sigma per image (see `photometric.blur_kernel`), edges repeated.

    Each axis is one batched product with a banded matrix per image, which uses the matrix units
    and makes the border part of the matrix.

    Args:
        images: (B, 3, H, W).
        active: (B,) bool on the CPU.
        params: (B, 1) on the CPU: sigma in pixels.
    """
    blurred = active.nonzero()[:, 0]
    kernel = _blur_kernels(params[blurred, 0]).to(images.device, non_blocking=True)
    index = blurred.to(images.device, non_blocking=True)
    height, width = images.shape[2:]
    rows, columns = _band_matrices(kernel, height), _band_matrices(kernel, width)
    result = rows[:, None] @ (images[index] @ columns[:, None].transpose(2, 3))
    return images.index_copy(0, index, result)


def solarize(images: Tensor, active: Tensor, params: Tensor) -> Tensor:
    """v -> 255 - v at or above the threshold; `params` is (B, 1): the threshold in 0..256."""
    threshold = torch.where(active, params[:, 0], torch.inf)
    threshold = threshold.to(images.device, non_blocking=True).view(-1, 1, 1, 1)
    return torch.where(images >= threshold, 255 - images, images)


_OPS = {
    ColorJitter.code: (ColorJitter.packed_size, jitter),
    RandomGrayscale.code: (RandomGrayscale.packed_size, grayscale),
    GaussianBlur.code: (GaussianBlur.packed_size, gaussian_blur),
    Solarize.code: (Solarize.packed_size, solarize),
}


def _as_mask(active: Tensor, images: Tensor) -> Tensor:
    return active.to(images.device, non_blocking=True).view(-1, 1, 1, 1)


def _luma(images: Tensor) -> Tensor:
    red, green, blue = images.unbind(1)
    return (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue).round()[:, None]


def _shift_hue(images: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue of (B, 3, H, W) by (B,) turns, in the HSV hexcone."""
    red, green, blue = images.unbind(1)
    value, lowest = images.amax(1), images.amin(1)
    chroma = value - lowest
    safe = torch.where(chroma > 0, chroma, 1.0)
    # Hue in sixths of a turn: 0 red, 2 green, 4 blue
    hue = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = hue + 6 * shift.view(-1, 1, 1)
    channels = []
    for position in (5, 3, 1):
        place = (position + hue) % 6
        part = torch.minimum(place, 4 - place).clamp(0, 1)
        channels.append(value - chroma * part)
    return torch.stack(channels, dim=1).round()


def _blur_kernels(sigma: Tensor) -> Tensor:
    """(B, 2 R + 1) weights of `photometric.blur_kernel` for (B,) sigmas."""
    variance = sigma * sigma / 3
    whole = (((12 * variance + 1).sqrt() - 1) / 2).floor()
    fraction = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance)
    radius = whole + fraction / (6 * (variance - (whole + 1) ** 2))
    reach = int(radius.max().ceil())
    offsets = torch.arange(-reach, reach + 1).abs()
    box = (radius[:, None] + 1 - offsets).clamp(0, 1)
    box = box / box.sum(dim=1, keepdim=True)
    kernel = box
    for _ in range(2):
        wide = F.pad(kernel, (2 * reach, 2 * reach)).unfold(1, 2 * reach + 1, 1)
        kernel = (wide * box[:, None]).sum(dim=2)
    return kernel


def _band_matrices(kernel: Tensor, length: int) -> Tensor:
    """(B, length, length): row i holds the weights of the inputs for output i, edges repeated.

    Args:
        kernel: (B, 2 R + 1) weights.
        length: Number of pixels along the axis.
    """
    reach = kernel.shape[1] // 2
    device = kernel.device
    offsets = torch.arange(-reach, reach + 1, device=device)[:, None]
    source = (torch.arange(length, device=device) + offsets).clamp(0, length - 1)
    # One matrix per kernel tap; a sum over taps instead of scattering keeps it deterministic.
    place = F.one_hot(source, length).to(kernel.dtype)
    return (kernel @ place.flatten(1)).view(-1, length, length)
