"""Splits for semi-supervised evaluation: the rule, the files, and the folder that uses them."""

from __future__ import annotations

import hashlib
import os
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from mmssl.datasets import ImageFolder, ImageList, splits
from mmssl.datasets.splits import read_split, split_order, split_size
from tests.helpers.pictures import write_folder

ROOT = Path(__file__).resolve().parents[2]


def make_split(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    path = str(ROOT / "tools/make_split.py")
    monkeypatch.setattr(sys, "argv", [path, *map(str, arguments)])
    runpy.run_path(path, run_name="__main__")


def test_values_counts_of_imagenet() -> None:
    """1 %: 12 images of 189 classes and 13 of 811; 10 %: 128 of 884 and 129 of 116."""
    sizes = np.full(1000, 1300)
    sizes[:105] = 732 + 5 * np.arange(105)
    sizes[104] += 1281167 - sizes.sum()
    labels = np.repeat(np.arange(1000), sizes)
    order = split_order([f"{i}.JPEG" for i in range(len(labels))], labels.tolist())
    for share, expected in ((0.01, {12: 189, 13: 811}), (0.1, {128: 884, 129: 116})):
        size = split_size(len(labels), share, 1000)
        counts = np.bincount(labels[order[:size]], minlength=1000)
        assert dict(zip(*np.unique(counts, return_counts=True), strict=True)) == expected


def test_values_order_is_balanced_and_uses_classes_up() -> None:
    labels = [0] * 5 + [1] * 2 + [2] * 3
    order = split_order([f"{i}" for i in range(10)], labels)
    assert sorted(order.tolist()) == list(range(10))
    taken = np.asarray(labels)[order]
    assert sorted(taken[:3]) == sorted(taken[3:6]) == [0, 1, 2]
    assert sorted(taken[6:8]) == [0, 2] and taken[8:].tolist() == [0, 0]


def test_values_order_depends_on_seed_and_names_only() -> None:
    paths = [f"a/{i}" for i in range(6)] + [f"b/{i}" for i in range(6)]
    labels = [0] * 6 + [1] * 6
    first = [paths[i] for i in split_order(paths, labels)]
    assert first == [paths[i] for i in split_order(paths, labels)]
    assert first != [paths[i] for i in split_order(paths, labels, seed=1)]
    # where the images stand in the folder does not matter, and a new image changes no other's place
    mixed = np.random.default_rng(0).permutation(12)
    shuffled = split_order([paths[i] for i in mixed], [labels[i] for i in mixed])
    assert first == [paths[mixed[i]] for i in shuffled]
    more = [*paths, "b/new"]
    longer = [more[i] for i in split_order(more, [*labels, 1])]
    assert [path for path in longer if path.startswith("b") and path != "b/new"] == [
        path for path in first if path.startswith("b")
    ]


def test_values_size() -> None:
    assert split_size(1281167, 0.01, 1000) == 12811
    assert split_size(1281167, 0.1, 1000) == 128116
    assert split_size(30, 0.1, 3) == 3
    assert split_size(100, 0.29, 3) == 29
    assert split_size(7, 1.0, 7) == 7
    with pytest.raises(
        ValueError, match=r"is 2, fewer than the 3 classes. The smallest share is 0.1"
    ):
        split_size(29, 0.1, 3)
    with pytest.raises(ValueError, match=r"1 % is 0.01"):
        split_size(29, 10, 3)


def test_values_tool_and_folder(tmp_path: Path, monkeypatch, capsys) -> None:
    """The lists are nested and balanced, and a folder shows exactly their images."""
    write_folder(tmp_path / "images", 33, classes=("a", "b", "c d"))
    for _ in range(2):
        make_split(
            monkeypatch, tmp_path / "images", "--shares", 0.1, 0.35, "--out", tmp_path / "splits"
        )
    small, large = (
        (tmp_path / "splits" / name).read_text().splitlines()
        for name in ("10percent_seed0.txt", "35percent_seed0.txt")
    )
    assert "3 of 33 images, 1 to 1 of each of 3 classes" in capsys.readouterr().out
    assert set(small) < set(large)
    assert [len(small), len(large)] == [3, 11]
    whole = ImageFolder(str(tmp_path / "images"), labels=True)
    part = ImageFolder(
        str(tmp_path / "images"), labels=True, subset=str(tmp_path / "splits/35percent_seed0.txt")
    )
    assert [os.path.relpath(part.path(i), part.root) for i in range(len(part))] == large
    assert part.classes == whole.classes
    names = [part.classes[label] for label in part.labels]
    assert names == [path.split("/")[0] for path in large]
    make_split(
        monkeypatch, tmp_path / "images", "--out", tmp_path / "other", "--seed", 5, "--shares", 0.1
    )
    assert (tmp_path / "other/10percent_seed5.txt").read_text().splitlines() != small


def test_raises_before_a_list_is_replaced(tmp_path: Path, monkeypatch) -> None:
    """Nothing is written unless all can be; the official lists have other names."""
    write_folder(tmp_path / "images", 20, classes=("a", "b"))
    out = tmp_path / "splits"
    out.mkdir()
    for name in ("10percent.txt", "20percent_seed0.txt"):
        (out / name).write_text("a/other.jpg\n")
    draw = (tmp_path / "images", "--shares", 0.1, 0.2, "--out", out)
    with pytest.raises(SystemExit, match=r"20percent_seed0.txt exists and lists other .* --force"):
        make_split(monkeypatch, *draw)
    assert sorted(path.name for path in out.iterdir()) == ["10percent.txt", "20percent_seed0.txt"]
    make_split(monkeypatch, *draw, "--force")
    assert len((out / "20percent_seed0.txt").read_text().splitlines()) == 4
    assert (out / "10percent.txt").read_text() == "a/other.jpg\n"
    with pytest.raises(SystemExit, match=r"Several of the shares .*10percent_seed0.txt"):
        make_split(monkeypatch, tmp_path / "images", "--shares", 0.1, 0.1, "--out", out)


def test_values_official_lists(tmp_path: Path, monkeypatch, caplog) -> None:
    """Names whose class stands before the underscore; the file is known by its hash."""
    for name in ("n02/n02_5.JPEG", "n01/n01_7.JPEG", "n01/n01_8.JPEG", "n03/n03_1.JPEG"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    file = tmp_path / "1percent.txt"
    file.write_text("n02_5.JPEG\r\n\nn01_8.JPEG\n")
    part = ImageFolder(str(tmp_path), labels=True, subset=str(file))
    assert [os.path.relpath(part.path(i), tmp_path) for i in range(2)] == [
        "n01/n01_8.JPEG",
        "n02/n02_5.JPEG",
    ]
    assert part.labels == [0, 1] and part.classes == ["n01", "n02", "n03"]
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    monkeypatch.setitem(splits.OFFICIAL_SPLITS, digest, "a known list")
    said = []
    monkeypatch.setattr(splits, "print_log", lambda message, **_: said.append(message))
    read_split(str(file))
    assert said == [f"{file}: 2 images (a known list)."]


def test_raises_on_wrong_lists(tmp_path: Path, monkeypatch) -> None:
    write_folder(tmp_path / "images", 4, classes=("a", "b"))
    file = tmp_path / "list.txt"
    folder = str(tmp_path / "images")
    with pytest.raises(FileNotFoundError, match=r"make_split.py draws one"):
        ImageFolder(folder, labels=True, subset=str(file))
    for text, message in (
        ("\n", "lists no image"),
        ("a/000.jpg\nb/001.jpg\na/000.jpg\n", "lists a/000.jpg more than once"),
        ("photo.jpg\n", "neither a path"),
        ("a/000.jpg\na/9.jpg\nb/7.jpg\n", r"2 of the 3 images .* for example a/9.jpg"),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=message):
            ImageFolder(folder, labels=True, subset=str(file))
    with pytest.raises(SystemExit, match="error: A share of 0.01 of 4 images is 0"):
        make_split(monkeypatch, folder, "--shares", 0.01, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_values_places205_list(tmp_path: Path) -> None:
    """`path label` with a space in a .csv, as the lists of Places205."""
    write_folder(tmp_path / "a", 2)
    file = tmp_path / "train_places205.csv"
    file.write_text("a/abbey/gsun_1.jpg 0\na/zoo in town/gsun_2.jpg 204\n\n")
    found = ImageList(str(file), root="/data")
    assert [found.path(i) for i in range(2)] == [
        "/data/a/abbey/gsun_1.jpg",
        "/data/a/zoo in town/gsun_2.jpg",
    ]
    assert found.labels == [0, 204] and len(found.classes) == 205
    file.write_text("path\na 1.jpg\n")  # a header: a column of paths, as before
    assert ImageList(str(file)).labels == [-1]
