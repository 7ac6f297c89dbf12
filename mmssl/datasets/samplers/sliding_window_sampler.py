"""SlidingWindowSampler: PIC's epochs, each a window that walks through the shuffled data set.

Parametric Instance Classification for Unsupervised Visual Feature Learning, 2020, arXiv 2006.14618 (sliding
window data scheduler). Compared with the authors' released sampler (goldens `pic_sampler`).
"""

from __future__ import annotations

import math
from collections.abc import Sized
from typing import Any, Literal

import numpy as np

from mmssl.datasets.samplers.keyed_sampler import KeyedSampler
from mmssl.datasets.samplers.released_windows import ReleasedWindows
from mmssl.datasets.transforms import shuffled_positions
from mmssl.registry import SAMPLERS

MODES = ("stream", "mod", "released")
# Beyond any window's number: a picture that comes twice in a window gets other views the second time.
_SECOND_TIME = 1 << 32


def in_windows(epochs: float, *, num_images: int, window: int) -> int:
    """Windows that show each image `epochs` times on average: ceil(epochs * num_images / window).

    | epochs of ImageNet (1281167) | 1  | 5  | 10 | 40  | 200  | 400  | 1600  |
    |------------------------------|----|----|----|-----|------|------|-------|
    | windows of 131072            | 10 | 49 | 98 | 391 | 1955 | 3910 | 15640 |

    Args:
        epochs: Passes over the images.
        num_images: Images of the data set, N.
        window: Images of a window, W, over all processes.

    Example:
        >>> in_windows(200, num_images=1281167, window=131072)
        1955
    """
    return math.ceil(epochs * num_images / window)


@SAMPLERS.register_module()
class SlidingWindowSampler(KeyedSampler):
    """An epoch is a window of the shuffled images; the next one begins `stride` images later.

    Neighbouring windows share `window - stride` images, so an image comes back after about a window
    instead of a whole pass, `window / stride` times in a row. The images r, r + G, r + 2G, ... belong to
    rank r of G, which walks through them by windows of window / G; ranks never share an image.

    | mode       | windows                                                    |
    |------------|------------------------------------------------------------|
    | `stream`   | the k-th begins at k * stride in an endless row of passes  |
    | `mod`      | the released program, as it was meant                      |
    | `released` | the released program, which never leaves its first window  |

    In `stream` every pass is a permutation of its own (with `reshuffle=False` always the same), the overlap
    is always exact, every image comes equally often, and resuming needs only k. A window that spans two
    passes may hold an image twice; its views then differ. `mod` and `released` reproduce numbers of the
    released program for comparison: the windows before the k-th have to be gone through to know it, and all
    ranks shuffle their shares alike, so that images of neighbouring numbers meet in a batch.

    Memory: two permutations of the rank's N / G images at most. With `EpochLoop` an epoch is a window;
    `WindowLoop` lets the config count passes over the data instead.

    Args:
        dataset: See `KeyedSampler`.
        window: Images of a window, W, over all ranks.
        stride: Images that the next window begins later, S, over all ranks.
        mode: See above.
        reshuffle: A new permutation for every pass (`mod`, `released`: whenever a window crosses the end).
        seed: See `KeyedSampler`.
        rank: Of this process; default: the process group's.
        world_size: Number of processes; default: the process group's.

    Raises:
        ValueError: An unknown mode; a window that is larger than the data set, or than the share of a rank;
            a stride that leaves images out; ranks that do not divide window and stride (`stream`; the
            released program rounds down).

    Example:
        >>> sampler = SlidingWindowSampler(range(8), 4, stride=2, seed=1)
        >>> windows = []
        >>> for k in range(3):
        ...     sampler.set_epoch(k)
        ...     windows.append({index for _, index in sampler})
        >>> [len(first & second) for first, second in zip(windows, windows[1:])]
        [2, 2]
    """

    def __init__(
        self,
        dataset: Sized,
        window: int,
        *,
        stride: int,
        mode: Literal["stream", "mod", "released"] = "stream",
        reshuffle: bool = True,
        seed: int | None = None,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        super().__init__(dataset, seed=seed, rank=rank, world_size=world_size)
        self.window, self.stride = window, stride
        self.mode, self.reshuffle = mode, reshuffle
        self._check()
        self._own_window = window // self.world_size
        self._own_stride = stride // self.world_size
        self._own_images = len(range(self.rank, self.length, self.world_size))
        self._orders: dict[tuple[int, int], np.ndarray] = {}
        self._released: ReleasedWindows | None = None

    def _check(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, got {self.mode!r}.")
        ranks, stream = self.world_size, self.mode == "stream"
        if not ranks <= self.stride <= self.window:
            raise ValueError(
                f"A window of {self.window} images that moves by {self.stride} on {ranks} process(es) would "
                "stand still or leave images out: stride must lie between the number of processes and "
                "the window."
            )
        for name, value in (("window", self.window), ("stride", self.stride)):
            if stream and value % ranks:
                near = max(value // ranks, 1) * ranks
                raise ValueError(
                    f"{ranks} processes share {name}={value} unequally; take a multiple of {ranks}, "
                    f"for example {near}."
                )
        if self.window // ranks > self.length // ranks:
            share = f" ({self.length // ranks} on each of {ranks} processes)" if ranks > 1 else ""
            raise ValueError(
                f"A window of {self.window} images is larger than the data set of {self.length}{share}. "
                "Lower window and stride (PIC: about a tenth of the images, and an eighth of that)."
            )

    def __len__(self) -> int:
        """Images of a window on this rank, whatever is skipped."""
        return self._own_window

    def windows(self, epochs: float) -> int:
        """Windows that show each image `epochs` times on average; see `in_windows`."""
        return in_windows(epochs, num_images=self.length, window=self.window)

    def settings(self) -> dict[str, Any]:
        """What the order of the images depends on besides the seed and the window's number."""
        names = ("window", "stride", "mode", "reshuffle", "world_size")
        return {"images": self.length, **{name: getattr(self, name) for name in names}}

    def keys(self, epoch: int, start: int) -> tuple[np.ndarray, np.ndarray]:
        """The number of the window, and its images in their order."""
        if self.mode == "stream":
            visits, indices = self._of_stream(epoch)
            return visits[start:], indices[start:]
        if self._released is None or self._released.seed != self.seed:
            self._released = ReleasedWindows(
                np.arange(self.rank, self.length, self.world_size),
                self._own_window,
                stride=self._own_stride,
                period=self._own_images if self.mode == "mod" else self._own_window,
                reshuffle=self.reshuffle,
                seed=self.seed,
            )
        indices = self._released.window(epoch)[start:]
        return np.broadcast_to(epoch, indices.shape), indices

    def _of_stream(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        first_pass, begin = divmod(number * self._own_stride, self._own_images)
        end = begin + self._own_window
        indices = self._order(first_pass)[begin:end].astype(np.int64)
        visits = np.full(self._own_window, number, np.int64)
        if (
            end > self._own_images
        ):  # at most one pass ends in a window, which is no larger than a pass
            more = self._order(first_pass + 1)[: end - self._own_images].astype(np.int64)
            visits[len(indices) :] += _SECOND_TIME * np.isin(more, indices)
            indices = np.concatenate([indices, more])
        inside = shuffled_positions(
            self._own_window, self.seed, number, stream=self._random_stream(1)
        )
        return visits[inside], indices[inside] * self.world_size + self.rank

    def _order(self, number: int) -> np.ndarray:
        """The permutation (own images,) of a pass; those of two passes are kept."""
        key = (self.seed, number if self.reshuffle else 0)
        if key not in self._orders:
            order = shuffled_positions(self._own_images, *key, stream=self._random_stream(0))
            while len(self._orders) > 1:
                del self._orders[min(self._orders)]
            small = np.int32 if self._own_images <= 1 << 31 else np.int64
            self._orders[key] = order.astype(small)
        return self._orders[key]

    def _random_stream(self, purpose: int) -> int:
        # ranks must not shuffle alike: the images of a batch would have neighbouring numbers
        return 1 + 2 * self.rank + purpose
