"""Numbers, thumbnails and text of the page of a clustering; paths and removed negatives."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmssl.datasets import ImageFolder
from mmssl.datasets.label_file import read_label_file
from mmssl.visualization.cluster_page import (
    ClusterPage,
    page_data,
    thumbnail_order,
    write_cluster_page,
)
from mmssl.visualization.cluster_summary import nearest_images, summarise_clusters
from mmssl.visualization.image_names import image_names
from mmssl.visualization.image_sheet import SheetCell, SheetLine, image_sheet
from mmssl.visualization.prototype_sheet import prototype_sheet
from mmssl.visualization.removed_negatives import (
    draw_masks,
    removed_negatives,
    removed_record,
    removed_sentence,
)
from mmssl.visualization.semantic_path import path_record, path_sheet, semantic_path
from tests.helpers.clusters import ANGLES, COLOURS, directions, hand_flat, hand_tree, write_coloured

LABELS = torch.tensor([0, 0, 1, 1, 1, -1, 2, 2])


@pytest.fixture
def dataset(tmp_path: Path) -> ImageFolder:
    """Eight images; the first to come has a name that is no fun in HTML."""
    names = [f"{number}.png" for number in range(8)]
    write_coloured(tmp_path / "images", names)
    root = tmp_path / "images"
    # a slash cannot be in a name, so the end tag is made by a folder
    (root / "1.png").rename(root / "1<b>&'\".png")
    return ImageFolder(str(root))


def page_of(dataset: ImageFolder, clustering, labels=None, removed=None) -> ClusterPage:
    summary = summarise_clusters(clustering, directions(ANGLES), labels, num_nearest=3)
    names = image_names(dataset, labels, ["red", "</script>", "blue"])
    return ClusterPage("A run", "small print", summary, names, [4], removed or {}, "why <not>")


def block_of(path: Path) -> tuple[str, dict]:
    text = path.read_text()
    (block,) = re.findall(r'<script type="application/json" id="cluster-data">(.*?)</script>', text)
    return text, json.loads(block)


def test_values_nearest_equals_a_full_sort() -> None:
    """Over blocks of prototypes, too, and with fewer images than asked for."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(50, 6, generator=generator), dim=1)
    centroids = torch.nn.functional.normalize(torch.randn(9, 6, generator=generator), dim=1)
    similarity = centroids @ rows.T
    for count in (4, 80):
        nearest, own = nearest_images(rows, centroids, count=count)
        order = similarity.argsort(dim=1, descending=True)[:, :count]
        assert torch.equal(nearest.images, order)
        torch.testing.assert_close(nearest.similarity, similarity.gather(1, order))
        assert torch.equal(own, similarity.argmax(dim=0))


def test_equivalence_blocks_of_prototypes(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, centroids = directions(ANGLES), directions([0.1, 1.1, 2.0, 3.1, 0.7])
    whole = nearest_images(rows, centroids, count=3)
    monkeypatch.setattr("mmssl.visualization.cluster_summary._BLOCK", 16)
    split = nearest_images(rows, centroids, count=3)
    assert torch.equal(whole[0].images, split[0].images) and torch.equal(whole[1], split[1])


def test_values_summary_of_a_tree() -> None:
    summary = summarise_clusters(hand_tree(), directions(ANGLES), LABELS, num_nearest=3)
    fine, coarse = summary.levels
    assert summary.tree and summary.agreement == 1.0
    assert fine.members.tolist() == [3, 3, 0, 2] and coarse.members.tolist() == [6, 2]
    assert fine.nearest.images[0].tolist() == [1, 0, 2]
    # nobody's prototype still has nearest images
    assert fine.nearest.images[2].tolist() == [5, 4, 3]
    assert coarse.nearest.images[0].tolist()[:2] == [2, 3]
    assert fine.listed[3].tolist()[:3] == [6, 7, -1]
    assert fine.listed[2].eq(-1).all() and coarse.listed.shape == (2, 0)
    assert fine.classes.top[0] == [(0, 2), (1, 1)] and fine.classes.top[2] == []
    # image 5 has no class
    assert coarse.classes.top == [[(1, 3), (0, 2)], [(2, 2)]]
    assert coarse.classes.known == [5, 2]
    assert coarse.classes.purity(0) == 0.6 and fine.classes.purity(2) is None


def test_values_agreement_tells_other_images() -> None:
    """Images in another order lie near the prototypes of others."""
    summary = summarise_clusters(hand_tree(), directions(ANGLES[::-1]))
    assert summary.agreement == 2 / 8


def test_raises_other_number_of_images() -> None:
    with pytest.raises(ValueError, match="one of 8 images, but there are embeddings of 7"):
        summarise_clusters(hand_tree(), directions(ANGLES[:7]))
    with pytest.raises(ValueError, match="labels of 3"):
        summarise_clusters(hand_tree(), directions(ANGLES), LABELS[:3])


def test_values_page_data(dataset: ImageFolder) -> None:
    data = page_data(page_of(dataset, hand_tree(), LABELS), dataset)
    images, (fine, coarse) = data["images"], data["levels"]
    place = {position: at for at, position in enumerate(images["position"])}
    assert sorted(place) == list(range(8)) and images["position"][0] == 4
    assert fine["members"] == [3, 3, 0, 2] and fine["parent"] == [0, 0, 1, 1]
    assert coarse["parent"] is None and data["tree"]
    assert fine["nearest"][0] == [place[1], place[0], place[2]]
    assert fine["cosine"][0][0] == 1.0 and fine["density"] == [0.1, 0.2, 0.3, 0.2]
    assert fine["listed"][2] == [] and coarse["listed"] == [[], []]
    assert images["prototypes"][0][place[7]] == 3 and images["prototypes"][1][place[7]] == 1
    assert images["label"][place[5]] == -1 and data["classes"][1] == "</script>"
    for position, at in place.items():
        with Image.open(
            io.BytesIO(base64.b64decode(images["jpeg_head"] + images["jpeg"][at]))
        ) as thumbnail:
            assert thumbnail.size == (64, 64)
            middle = np.asarray(thumbnail)[32, 32].astype(int)
        assert np.abs(middle - COLOURS[position]).max() < 12


def test_values_thumbnails_share_their_head(dataset: ImageFolder) -> None:
    """The tables of the JPEGs are in the page once; without any thumbnail there is nothing to share."""
    images = page_data(page_of(dataset, hand_tree()), dataset)["images"]
    head = base64.b64decode(images["jpeg_head"])
    assert head[:3] == b"\xff\xd8\xff" and len(head) > 500
    assert max(len(base64.b64decode(jpeg)) for jpeg in images["jpeg"]) < 400
    page = dataclasses.replace(page_of(dataset, hand_tree()), queries=[])
    images = page_data(page, dataset, max_thumbnails=0)["images"]
    assert images["jpeg_head"] == "" and set(images["jpeg"]) == {None}


def test_values_page_of_flat_levels(dataset: ImageFolder) -> None:
    """Every level lists its members, none has parents, no class is known."""
    data = page_data(page_of(dataset, hand_flat()), dataset)
    assert not data["tree"] and data["images"]["label"] is None and data["classes"] == {}
    assert [level["parent"] for level in data["levels"]] == [None, None]
    assert [len(row) for row in data["levels"][1]["listed"]] == [6, 2]
    assert data["levels"][1]["classes"] is None


def test_values_names_are_escaped(dataset: ImageFolder, tmp_path: Path) -> None:
    """Names of files and classes stay text, whatever they hold."""
    page = page_of(dataset, hand_tree(), LABELS)
    out = write_cluster_page(tmp_path / "p.html", page, page_data(page, dataset))
    text, block = block_of(out)
    assert "1<b>&'\".png" in block["images"]["file"] and "</script>" in block["classes"].values()
    assert "<b>&" not in text and "why &lt;not&gt;" in text
    # one ends the data, one the script
    assert text.count("</script>") == 2
    assert not re.search(r"""(?:src|href)=["'](?:http|//|\w+\.)""", text)


def test_values_limit_of_thumbnails(dataset: ImageFolder) -> None:
    """The chosen images come first and do not count; then one of each prototype, the coarsest first."""
    page = page_of(dataset, hand_tree())
    assert thumbnail_order(page.summary, [4], 0) == [4]
    assert thumbnail_order(page.summary, [4], 3) == [4, 2, 6, 1]
    data = page_data(page, dataset, max_thumbnails=3)
    assert [jpeg is not None for jpeg in data["images"]["jpeg"]] == [True] * 4 + [False] * 4


def test_values_semantic_path(dataset: ImageFolder) -> None:
    page = page_of(dataset, hand_tree(), LABELS)
    path = semantic_path(page.summary, 2)
    assert [(step.level, step.prototype, step.members) for step in path] == [(0, 0, 3), (1, 0, 6)]
    assert [image for image, _, _ in path[0].images] == [1, 0, 2]
    assert all(member for _, _, member in path[1].images)
    record = path_record(2, path, page.names)
    assert record["file"] == "2.png" and record["label"] == "</script>"
    assert record["path"][0]["nearest"][0]["image"] == 1
    sheet = np.asarray(path_sheet(dataset, 2, path, page.names))
    assert (np.abs(sheet.astype(int) - COLOURS[0]).max(axis=2) < 3).sum() > 4 * 80 * 80
    with pytest.raises(ValueError, match="no image 8"):
        semantic_path(page.summary, 8)


def test_values_prototype_sheet(dataset: ImageFolder) -> None:
    """The prototype, then its children, the largest first; a finest one has none."""
    page = page_of(dataset, hand_tree(), LABELS)

    def reds_and_blues(level: int, number: int) -> list[list[int]]:
        sheet = prototype_sheet(dataset, level, number, page.summary, page.names)
        pixels = np.asarray(sheet).astype(int)
        rows = [pixels[top : top + 161] for top in range(36, sheet.height - 100, 161)]
        return [
            [int((np.abs(row - COLOURS[at]).max(axis=2) < 3).sum() // 9000) for at in (0, 3, 6)]
            for row in rows
        ]

    # 6 and 7 lie nearest to 1/1 and to its child 0/3; the empty child 0/2 comes last
    assert reds_and_blues(1, 1) == [[0, 1, 2], [0, 1, 2], [0, 3, 0]]
    assert reds_and_blues(0, 0) == [[3, 0, 0]]
    with pytest.raises(ValueError, match="no prototype 2/0"):
        prototype_sheet(dataset, 2, 0, page.summary, page.names)


def test_values_other_images_are_marked() -> None:
    """What is near the empty prototype belongs elsewhere."""
    clustering = hand_tree()
    clustering.assignment[0, 5] = 2
    summary = summarise_clusters(clustering, directions(ANGLES), num_nearest=3)
    assert [member for _, _, member in semantic_path(summary, 5)[0].images] == [True, False, False]


def test_values_removed_negatives(dataset: ImageFolder) -> None:
    """Two levels, a key of the start of the run, the image's own key, one of unknown class."""
    keep = torch.tensor([[0.9, 0.2, 0.1, 0.4, 0.3, 0.0], [0.9, 0.9, 0.8, 0.9, 0.9, 0.9]])
    index = torch.tensor([6, 0, 1, 5, 2, -1])
    fine, coarse = removed_negatives(keep, keep > 0.5, query=1, key_index=index, labels=LABELS)
    assert [key.image for key in fine.keys] == [1, 0, 2, 5]
    assert [key.same for key in fine.keys] == [True, True, False, None]
    assert [round(key.probability, 4) for key in fine.keys] == [0.9, 0.8, 0.7, 0.6]
    assert (fine.removed, fine.candidates, coarse.removed) == (4, 5, 0)
    assert tuple(fine.counts) == (2, 0, 1, 1) and tuple(coarse.counts) == (0, 2, 0, 2)
    assert removed_sentence(fine).startswith("4 of 5 keys removed; 2 of 3 with known class")
    names = image_names(dataset, LABELS, None)
    record = removed_record(1, [fine, coarse], names)
    assert record["levels"][0]["metrics"]["positive_recall"] == pytest.approx(1.0)
    assert record["levels"][0]["keys"][2]["label"] == "1" and record["levels"][1]["keys"] == []
    (plain,) = removed_negatives(keep[:1], keep[:1] > 0.5, query=7, key_index=index, limit=2)
    assert [(key.image, key.same) for key in plain.keys] == [(1, None), (0, None)]
    assert plain.counts is None and plain.removed == 4


def test_values_removed_keys_in_the_page(dataset: ImageFolder) -> None:
    keep, index = torch.tensor([[0.9, 0.2]]), torch.tensor([6, 3])
    levels = removed_negatives(keep, keep > 0.5, query=4, key_index=index, labels=LABELS)
    data = page_data(page_of(dataset, hand_tree(), LABELS, {4: levels}), dataset)
    (query,) = data["queries"]
    place = data["images"]["position"].index
    assert query["image"] == place(4)
    assert query["levels"][0]["keys"] == [[place(3), 0.8, True]]


def test_values_draws_follow_the_probabilities() -> None:
    keep = torch.tensor([0.0, 0.25, 0.999]).expand(20000, 3)
    masks = draw_masks(keep, torch.Generator().manual_seed(0))
    share = masks.double().mean(dim=0)
    assert share[0] == 0 and abs(share[1] - 0.25) < 0.015 and 0.997 < share[2] < 1
    assert torch.equal(masks, draw_masks(keep, torch.Generator().manual_seed(0)))


def test_values_unreadable_image_is_grey(dataset: ImageFolder) -> None:
    Path(dataset.path(0)).write_bytes(b"no image")
    lines = [SheetLine("a row", [SheetCell(0, "x" * 60), SheetCell(3)]), SheetLine("none", [])]
    sheet = np.asarray(image_sheet(dataset, "\udc80 title", lines)).astype(int)
    for colour in ((128, 128, 128), COLOURS[3]):
        assert (np.abs(sheet - colour).max(axis=2) < 3).sum() > 80 * 80


def test_values_label_files(dataset: ImageFolder, tmp_path: Path) -> None:
    """A class per line, or paths in any order; who is not named has no class."""
    lines = tmp_path / "labels.txt"
    lines.write_text("cat\ncat\ndog\n\nape\nape\ndog\ncat\n")
    expected = [1, 1, 2, -1, 0, 0, 2, 1]
    assert read_label_file(lines, dataset) == (expected, ["ape", "cat", "dog"])
    table = tmp_path / "labels.csv"
    table.write_text("path,label\n7.png,dog\n0.png,cat\n")
    assert read_label_file(table, dataset) == ([0, *[-1] * 6, 1], ["cat", "dog"])
    # paths as seen from the list, such as Shapes' unlabelled.csv
    beside = Path(dataset.root).parent / "beside.csv"
    names = [os.path.relpath(dataset.path(index), beside.parent) for index in (0, 7)]
    beside.write_text(f"path,label\n{names[0]},cat\n{names[1]},dog\n")
    assert read_label_file(beside, dataset) == ([0, *[-1] * 6, 1], ["cat", "dog"])


def test_raises_label_files(dataset: ImageFolder, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("cat\n")
    with pytest.raises(ValueError, match=r"1 lines, but there are 8 images"):
        read_label_file(tmp_path / "short.txt", dataset)
    (tmp_path / "other.csv").write_text("path,label\nx.png,dog\n")
    with pytest.raises(ValueError, match=r"no label of any image"):
        read_label_file(tmp_path / "other.csv", dataset)
