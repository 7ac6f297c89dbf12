"""Splits: small, class-balanced, nested parts of a labelled folder, and the files that list them.

The 1 % and 10 % lists of ImageNet come from SimCLR (arXiv 2002.05709, section B.5; `imagenet2012_subset`
of TensorFlow Datasets): balanced over the classes, some of which have one image more.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Sequence

import numpy as np
from mmengine.logging import print_log

# SHA-256 of the official text files
OFFICIAL_SPLITS = {
    "71e82a48ba78252683ae334c4d019ebd5c6e855b9599c1389fbe83eb9549cf17": "SimCLR's 1 % of ImageNet",
    "6d09de11e7bdaf5b1f3b1f249b6183695f97310cdd20f0c03e7235b6b9392091": "SimCLR's 10 % of ImageNet",
}


def split_order(paths: Sequence[str], labels: Sequence[int], *, seed: int = 0) -> np.ndarray:
    """An order of the images of which every beginning is a class-balanced part.

    Round after round each class gives one image, as long as it has any; the order of the classes
    within a round and of the images within a class are drawn. The first n images are therefore a
    part in which the classes differ by one image at most (unless a class is used up), and contain
    every smaller part. The draw is a hash of seed and name: it depends on no library, and new
    images do not change the order of the old ones.

    Args:
        paths: Paths relative to the folder.
        labels: Their classes.
        seed: Of the draw.

    Returns:
        (n,) int64 positions.

    Example:
        >>> labels = [0, 0, 0, 1]
        >>> order = split_order(["a/0", "a/1", "a/2", "b/0"], labels)
        >>> [sorted(labels[i] for i in part) for part in (order[:2], order[2:])]
        [[0, 1], [0, 0]]
    """
    classes = np.asarray(labels, np.int64)
    names = [f"class {number}" for number in range(int(classes.max(initial=-1)) + 1)]
    class_rank = np.argsort(np.argsort(_drawn(names, seed)))[classes]
    by_class = np.lexsort((_drawn(paths, seed), classes))
    counts = np.bincount(classes, minlength=len(names))
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    rounds = np.empty(len(classes), np.int64)
    rounds[by_class] = np.arange(len(classes)) - starts
    return np.lexsort((class_rank, rounds))


def _drawn(names: Sequence[str], seed: int) -> np.ndarray:
    """(n,) uint64 hashes of seed and name."""
    digests = b"".join(
        hashlib.blake2b(f"{seed}/{name}".encode("utf-8", "surrogateescape"), digest_size=8).digest()
        for name in names
    )
    return np.frombuffer(digests, "<u8")


def split_size(num_images: int, share: float, num_classes: int) -> int:
    """Images of a part: `share` of all, rounded down, at least one per class.

    Raises:
        ValueError: A share outside (0, 1], or too small for one image per class.

    Example:
        >>> split_size(1281167, 0.01, 1000), split_size(1281167, 0.1, 1000)
        (12811, 128116)
    """
    if not 0.0 < share <= 1.0:
        raise ValueError(f"A share lies in (0, 1], got {share}; 1 % is 0.01.")
    # 0.1 * 30 is 3.0000000000000004, 0.29 * 100 is 28.999999999999996
    size = int(num_images * share + 1e-6)
    if size < num_classes:
        raise ValueError(
            f"A share of {share:g} of {num_images} images is {size}, fewer than the {num_classes} "
            f"classes. The smallest share is {num_classes / num_images:.3g}."
        )
    return size


def read_split(file: str) -> list[str]:
    """Paths that a split file lists, one per line, relative to a folder of class folders.

    A line is a path (`class/name.jpg`), or a name alone, as in the official lists of ImageNet, whose
    class is what stands before the first underscore (`n01440764_10026.JPEG`).

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is empty, lists an image twice, or has a name without class.
    """
    file = os.path.expanduser(file)
    if not os.path.isfile(file):
        raise FileNotFoundError(
            f"The split file {file} does not exist (looked for it from {os.getcwd()}). "
            "tools/make_split.py draws one."
        )
    with open(file, "rb") as stream:
        content = stream.read()
    lines = content.decode("utf-8-sig", "surrogateescape").splitlines()
    paths = [_split_path(line.strip(), file) for line in lines if line.strip()]
    if not paths:
        raise ValueError(f"The split file {file} lists no image.")
    if len(set(paths)) < len(paths):
        twice = Counter(paths).most_common(1)[0][0]
        raise ValueError(f"The split file {file} lists {twice} more than once.")
    digest = hashlib.sha256(content).hexdigest()
    about = OFFICIAL_SPLITS.get(digest, f"SHA-256 {digest[:16]}")
    print_log(f"{file}: {len(paths)} images ({about}).", logger="current", level=logging.INFO)
    return paths


def _split_path(line: str, file: str) -> str:
    if "/" in line:
        return line.replace("/", os.sep)
    folder, underscore, _ = line.partition("_")
    if not underscore or not folder:
        raise ValueError(
            f"{file} lists {line!r}, which is neither a path 'class/name' nor a name whose class "
            "stands before an underscore."
        )
    return os.path.join(folder, line)
