"""The photometric half on the device: the workers' parameters, the workers' pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import RandomEqualize

from mmssl.datasets.transforms import (
    ColorJitter,
    GaussianBlur,
    MultiView,
    PackedTransform,
    RandomGrayscale,
    Solarize,
    ViewRandom,
    apply_photometric,
)
from mmssl.datasets.transforms.device import _blur_kernels
from mmssl.datasets.transforms.photometric import Jitter, blur_kernel
from mmssl.models import ViewPreprocessor
from mmssl.structures import ViewBatch
from tests.helpers.pictures import picture

SIZE = 40
SEQUENCE = [
    ColorJitter(0.4, 0.4, 0.2, 0.1, prob=0.8),
    RandomGrayscale(prob=0.2),
    GaussianBlur(prob=0.5),
    Solarize(prob=0.2),
]


def _pictures(num: int) -> np.ndarray:
    return np.stack([picture(seed, SIZE, SIZE) for seed in range(num)])


def _as_batch(arrays: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(arrays.transpose(0, 3, 1, 2).copy())


def _as_arrays(batch: torch.Tensor) -> np.ndarray:
    return batch.numpy().transpose(0, 2, 3, 1)


def _differences(
    transforms: list[PackedTransform], num: int, backend: str
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and largest difference per image between the device and the workers, in levels."""
    arrays, rows, expected = _pictures(num), [], []
    for index, array in enumerate(arrays):
        rng = ViewRandom(0, 0, index)
        image = Image.fromarray(array) if backend == "pil" else array
        row = []
        for transform in transforms:
            params = transform.draw(rng, (SIZE, SIZE))
            row += transform.pack(params)
            image = image if params is None else transform.apply(image, params)
        rows.append(row)
        expected.append(np.asarray(image))
    ours = _as_arrays(apply_photometric(_as_batch(arrays), torch.tensor(rows)))
    difference = np.abs(ours - np.stack(expected).astype(np.float32))
    return difference.mean(axis=(1, 2, 3)), difference.max(axis=(1, 2, 3))


# Bounds of (mean over a picture, largest value) in levels of 255, per op, against OpenCV and Pillow
TOLERANCES = {
    "brightness": (ColorJitter(brightness=0.4), (0.01, 1), (0.01, 1)),
    "contrast": (ColorJitter(contrast=0.4), (0.5, 1), (0.01, 1)),
    "saturation": (ColorJitter(saturation=0.4), (0.3, 2), (0.02, 1)),
    "hue": (ColorJitter(hue=0.1), (1.0, 12), (1.2, 12)),
    "grayscale": (RandomGrayscale(1.0), (0.01, 1), (0.01, 1)),
    "blur": (GaussianBlur(prob=1.0), (0.3, 1), (1.0, 20)),
    "solarize": (Solarize(prob=1.0), (0.0, 0), (0.0, 0)),
}


@pytest.mark.parametrize("name", TOLERANCES)
@pytest.mark.parametrize("backend", ["cv2", "pil"])
def test_equivalence_of_single_ops(name: str, backend: str) -> None:
    transform, cv2_bounds, pil_bounds = TOLERANCES[name]
    mean, largest = cv2_bounds if backend == "cv2" else pil_bounds
    means, maxima = _differences([transform], 12, backend)
    assert means.max() <= mean
    assert maxima.max() <= largest


def test_equivalence_of_a_whole_pipeline() -> None:
    """All ops in their random orders: the differences of the single ops add up."""
    means, _ = _differences(SEQUENCE, 48, "cv2")
    assert np.median(means) < 0.6
    assert means.max() < 2.5


def test_values_jitter_order_matters_per_image() -> None:
    """The same factors in two orders, in one batch: each image follows its own."""
    factors = (1.4, 0.6, 1.2, 0.1)
    array = picture(3, SIZE, SIZE)
    transform = ColorJitter()
    for orders in (((0, 1, 2, 3), (3, 2, 1, 0)), ((3, 2, 1, 0), (0, 1, 2, 3))):
        params = [Jitter(order, factors) for order in orders]
        rows = torch.tensor([transform.pack(item) for item in params])
        ours = _as_arrays(apply_photometric(_as_batch(np.stack([array, array])), rows))
        for result, item in zip(ours, params, strict=True):
            assert np.abs(result - transform.apply(array, item)).mean() < 0.8
        assert np.abs(ours[0] - ours[1]).mean() > 3


def test_values_inactive_images_are_untouched() -> None:
    batch = _as_batch(_pictures(3))
    row: list[float] = []
    for transform in SEQUENCE:
        row += transform.pack(None)
    changed: list[float] = []
    for transform in SEQUENCE:
        changed += transform.pack(transform.draw_params(ViewRandom(0), (SIZE, SIZE)))
    ours = apply_photometric(batch, torch.tensor([row, changed, row]))
    assert torch.equal(ours[0], batch[0].float())
    assert torch.equal(ours[2], batch[2].float())
    assert not torch.equal(ours[1], batch[1].float())


def test_equivalence_a_batch_is_its_images() -> None:
    arrays = _pictures(6)
    rows = []
    for index in range(6):
        rng = ViewRandom(1, 0, index)
        rows.append([x for t in SEQUENCE for x in t.pack(t.draw(rng, (SIZE, SIZE)))])
    batch, rows = _as_batch(arrays), torch.tensor(rows)
    together = apply_photometric(batch, rows)
    alone = [apply_photometric(batch[i : i + 1], rows[i : i + 1]) for i in range(6)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=2e-3)


def test_values_batched_blur_kernels() -> None:
    sigmas = [0.1, 0.3, 0.7, 1.4, 2.0]
    kernels = _blur_kernels(torch.tensor(sigmas)).numpy()
    for sigma, kernel in zip(sigmas, kernels, strict=True):
        single = blur_kernel(sigma)
        padding = (len(kernel) - len(single)) // 2
        # taps below 1/1024 are dropped from the single one
        assert np.abs(kernel - np.pad(single, padding)).max() < 2e-3


@pytest.mark.parametrize("size", [(5, 9), (9, 5), (1, 1)])
def test_values_blur_of_images_smaller_than_the_kernel(size: tuple[int, int]) -> None:
    """Edges are repeated: a constant picture stays what it is, whatever its size."""
    batch = torch.full((1, 3, *size), 77.0)
    ours = apply_photometric(batch, torch.tensor([GaussianBlur().pack(2.0)]))
    torch.testing.assert_close(ours, batch, rtol=0, atol=1e-3)


def test_values_under_autocast_are_float32() -> None:
    batch = _as_batch(_pictures(2))
    rows = torch.tensor([GaussianBlur().pack(1.5), GaussianBlur().pack(0.4)])
    with torch.autocast("cpu", torch.bfloat16):
        ours = apply_photometric(batch, rows)
    assert ours.dtype == torch.float32
    assert torch.equal(ours, apply_photometric(batch, rows))


def test_equivalence_preprocessor_of_both_paths() -> None:
    """Same addresses, both paths, through the preprocessor: the same normalised views."""
    crops = [dict(type="RandomResizedCrop", size=24), dict(type="HorizontalFlip")]
    transforms = [*crops, *SEQUENCE, dict(type="VerticalFlip")]
    batches = []
    for path in ("workers", "device"):
        views = MultiView([dict(num=2, transforms=transforms)], photometric=path)
        samples = [views(picture(i), seed=3, epoch=1, index=i) for i in range(16)]
        assert len(samples[0].photometric) == (2 if path == "device" else 0)
        fields = zip(*samples, strict=True)
        stacked = [[torch.stack(parts) for parts in zip(*field, strict=True)] for field in fields]
        index = torch.arange(16)
        batches.append(ViewBatch(stacked[0], index, stacked[1], index, stacked[2]))
    preprocess = ViewPreprocessor()
    on_workers, on_device = (
        preprocess(dict(inputs=batch), training=True)["inputs"] for batch in batches
    )
    assert on_device.photometric == []
    for ours, expected, box, other in zip(
        on_device.images, on_workers.images, on_device.boxes, on_workers.boxes, strict=True
    ):
        assert torch.equal(box, other)
        # 1 / 58 is one level
        assert float((ours - expected).abs().mean()) < 1 / 58


def test_equivalence_channels_last_changes_the_layout_only() -> None:
    none = torch.full((2,), -1)
    batch = dict(inputs=ViewBatch([_as_batch(_pictures(2))], none, [], none, []))
    plain, last = (
        ViewPreprocessor(channels_last=flag)(batch)["inputs"].images[0] for flag in (False, True)
    )
    assert torch.equal(plain, last)
    assert plain.is_contiguous()
    assert last.is_contiguous(memory_format=torch.channels_last)


def test_raises_on_pipelines_that_cannot_run_on_the_device() -> None:
    with pytest.raises(ValueError, match="cannot run on the device"):
        MultiView([dict(transforms=[RandomEqualize()])], photometric="device")
    late_crop = [dict(type="RandomGrayscale"), dict(type="CenterCrop", size=8)]
    with pytest.raises(ValueError, match="crops and resizing must come first"):
        MultiView([dict(transforms=late_crop)], photometric="device")


def test_raises_on_rows_of_another_batch() -> None:
    batch = _as_batch(_pictures(2))
    with pytest.raises(ValueError, match="one row of photometric parameters per image"):
        apply_photometric(batch, torch.tensor([Solarize().pack(True)]))
    with pytest.raises(ValueError, match="Unknown photometric op 9"):
        apply_photometric(batch, torch.tensor([[9.0, 1.0], [9.0, 1.0]]))
    mixed = torch.tensor([[*Solarize().pack(True)], [*GaussianBlur().pack(1.0)]])
    with pytest.raises(ValueError, match="share one sequence"):
        apply_photometric(batch, mixed)
