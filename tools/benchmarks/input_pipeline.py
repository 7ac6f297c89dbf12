"""Time decoding plus BYOL's two 224 px views, in images per CPU-second, against torchvision.

Both sides do the same augmentation (bicubic crops, the same probabilities) on the same files, on
one thread, and are timed in turns; the figure that counts is the median of the paired ratios.

    python tools/benchmarks/input_pipeline.py --out input_pipeline.json
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image, ImageFilter
from torchvision import transforms as T

from mmssl.datasets.decode import decode_image
from mmssl.datasets.transforms import MultiView

VIEWS = Path(__file__).parents[2] / "configs" / "_base_" / "views" / "byol.py"


def synthetic_photo(rng: np.random.Generator, width: int = 500, height: int = 375) -> bytes:
    """A JPEG with smooth shapes, edges and noise, 4:2:0, quality 90."""
    base = rng.integers(0, 256, (12, 16, 3)).astype(np.uint8)
    image = cv2.resize(base, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(12):
        centre = tuple(int(value) for value in rng.integers(0, (width, height)))
        colour = tuple(int(value) for value in rng.integers(0, 256, 3))
        cv2.circle(image, centre, int(rng.integers(10, 90)), colour, -1, cv2.LINE_AA)
    noise = rng.normal(0, 8, image.shape)
    image = np.clip(image + noise, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=90)
    return file.getvalue()


class PillowBlur:
    """The blur of the published recipes."""

    def __call__(self, image: Image.Image) -> Image.Image:
        sigma = float(torch.empty(()).uniform_(0.1, 2.0))
        return image.filter(ImageFilter.GaussianBlur(radius=sigma))


def torchvision_views() -> Callable[[bytes], list[torch.Tensor]]:
    """The same two views as a user of torchvision writes them, up to uint8 tensors."""

    def pipeline(blur: float, solarize: float) -> T.Compose:
        return T.Compose(
            [
                T.RandomResizedCrop(
                    224, scale=(0.08, 1.0), interpolation=T.InterpolationMode.BICUBIC
                ),
                T.RandomHorizontalFlip(0.5),
                T.RandomApply([T.ColorJitter(0.4, 0.4, 0.2, 0.1)], p=0.8),
                T.RandomGrayscale(0.2),
                T.RandomApply([PillowBlur()], p=blur),
                T.RandomSolarize(128, p=solarize),
                T.PILToTensor(),
            ]
        )

    pipelines = pipeline(1.0, 0.0), pipeline(0.1, 0.2)

    def run(data: bytes) -> list[torch.Tensor]:
        image = Image.open(io.BytesIO(data)).convert("RGB")
        return [transform(image) for transform in pipelines]

    return run


def our_views(backend: str, photometric: str) -> Callable[[bytes, int], list[torch.Tensor]]:
    """`configs/_base_/views/byol.py` with another backend or path."""
    init_default_scope("mmssl")
    config = dict(Config.fromfile(VIEWS).byol_views)
    config.pop("type")
    views = MultiView(**config, backend=backend, photometric=photometric)

    def run(data: bytes, index: int) -> list[torch.Tensor]:
        return views(decode_image(data, backend), index=index).images

    return run


def seconds_per_image(run: Callable[[int], object], first: int, count: int) -> float:
    """CPU seconds of this process per call."""
    start = time.process_time()
    for index in range(first, first + count):
        run(index)
    return (time.process_time() - start) / count


def main() -> None:
    """Time all sides in turns; print a table; write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="paired repetitions")
    parser.add_argument("--images", type=int, default=40, help="images per repetition and side")
    parser.add_argument("--out", help="JSON file for the figures")
    args = parser.parse_args()

    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    photos = [synthetic_photo(rng) for _ in range(40)]

    def photo(index: int) -> bytes:
        return photos[index % len(photos)]

    reference = torchvision_views()
    fast, exact = our_views("cv2", "workers"), our_views("pil", "workers")
    geometry = our_views("cv2", "device")
    sides: dict[str, Callable[[int], object]] = {
        "torchvision on Pillow": lambda index: reference(photo(index)),
        "mmssl, cv2": lambda index: fast(photo(index), index),
        "mmssl, cv2, photometric='device' (crops only)": lambda index: geometry(
            photo(index), index
        ),
        "mmssl, pil": lambda index: exact(photo(index), index),
        "decode only (cv2)": lambda index: decode_image(photo(index)),
    }
    times: dict[str, list[float]] = {name: [] for name in sides}
    for run in sides.values():
        seconds_per_image(run, 0, 10)
    for round_number in range(args.rounds):
        for name, run in sides.items():
            times[name].append(seconds_per_image(run, round_number * args.images, args.images))

    base = times["torchvision on Pillow"]
    results = {
        name: {
            "images_per_cpu_second": 1 / statistics.median(values),
            "ratio_to_torchvision": statistics.median(
                b / value for b, value in zip(base, values, strict=True)
            ),
        }
        for name, values in times.items()
    }
    for name, figures in results.items():
        print(
            f"{name:48s} {figures['images_per_cpu_second']:8.0f} images/CPU-s "
            f"{figures['ratio_to_torchvision']:6.2f} x"
        )
    if args.out:
        setting = {"image": "500x375 JPEG", "views": "BYOL, 2 x 224 px", "threads": 1}
        report = {"setting": setting, "machine": platform.processor(), "results": results}
        Path(args.out).write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
