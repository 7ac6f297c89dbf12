"""ImageList: text, CSV and JSON-lines lists, with and without labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmssl.datasets import ImageList
from tests.helpers.pictures import SMALL_VIEWS, write_folder

LISTS = {
    "plain.txt": ("000.jpg\n\n001.jpg\n", [-1, -1], None),
    "labels.txt": ("000.jpg 2\n001.jpg\t0\n", [2, 0], ["0", "1", "2"]),
    "names.csv": ("000.jpg,dog\n001.jpg,cat\n", [1, 0], ["cat", "dog"]),
    "header.csv": ("id,label,path\n7,1,000.jpg\n8,,001.jpg\n", [1, -1], ["0", "1"]),
    "tabs.tsv": ("000.jpg\t0\n001.jpg\t1\n", [0, 1], ["0", "1"]),
    "plain.csv": ("000.jpg\n001.jpg\n", [-1, -1], None),
    "rows.jsonl": (
        '{"path": "000.jpg", "label": "b"}\n{"file_name": "001.jpg", "label": "a", "x": 1}\n',
        [1, 0],
        ["a", "b"],
    ),
    "fractions.jsonl": (
        '{"path": "000.jpg", "label": 1.7}\n{"path": "001.jpg", "label": 1.2}\n',
        [1, 0],
        ["1.2", "1.7"],
    ),
    "paths.jsonl": ('"000.jpg"\n"001.jpg"\n', [-1, -1], None),
    "bom.csv": ("\ufeffpath,label\r\n000.jpg,3\r\n001.jpg,3\r\n", [3, 3], ["0", "1", "2", "3"]),
}


@pytest.mark.parametrize("name", LISTS)
def test_values(tmp_path: Path, name: str) -> None:
    text, labels, classes = LISTS[name]
    paths = write_folder(tmp_path, 2)
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    images = ImageList(str(tmp_path / name), SMALL_VIEWS)
    assert [images.path(index) for index in range(2)] == [str(path) for path in paths]
    assert images.labels == labels
    assert images.classes == classes
    assert [images[index]["inputs"].label.item() for index in range(2)] == labels


def test_values_paths_with_spaces_and_other_roots(tmp_path: Path) -> None:
    folder = tmp_path / "my images"
    (path,) = write_folder(folder, 1)
    path.rename(folder / "a photo 2.jpg")
    (tmp_path / "list.txt").write_text(f"a photo 2.jpg\n{folder}/a photo 2.jpg 4\n")
    images = ImageList(str(tmp_path / "list.txt"), root=str(folder))
    assert [images.path(index) for index in range(2)] == [str(folder / "a photo 2.jpg")] * 2
    assert images.labels == [-1, 4]
    assert images.image(1).shape == (36, 40, 3)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "\n", "names no image"),
        ("a.csv", "path,label\n,3\n", "no path in column 1"),
        ("a.jsonl", '{"path": "x.jpg"\n', "Line 1 of .* is no JSON"),
        ("a.jsonl", '"x.jpg"\n{"label": 3}\n', "Line 2 of .* none of the keys path, image"),
    ],
)
def test_raises_on_broken_lists(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        ImageList(str(tmp_path / name))


def test_raises_on_a_missing_list(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.txt does not exist"):
        ImageList(str(tmp_path / "absent.txt"))
