"""Views that are kept: the same pixels, shared, resumed, and recognised."""

from __future__ import annotations

import logging
import os
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from mmssl.datasets import ImageFolder
from mmssl.datasets import view_cache as module
from mmssl.datasets.view_cache import CachedViews, PixelFile
from mmssl.evaluation import evaluation_loader
from tests.helpers.toy import ToyImages

VIEWS = dict(
    type="MultiView",
    boxes=None,
    views=[
        dict(num=1, transforms=[dict(type="Resize", size=24), dict(type="CenterCrop", size=20)])
    ],
)


@pytest.fixture
def folder(tmp_path):
    """Nine images, the fourth of which is none."""
    random = np.random.default_rng(0)
    path = tmp_path / "images"
    path.mkdir()
    for index in range(9):
        pixels = random.integers(0, 256, (30, 26 + index, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path / f"{index}.png")
    (path / "3.png").write_bytes(b"no image")
    return path


def dataset(folder, views=VIEWS, seed=0):
    return ImageFolder(str(folder), views, seed=seed, max_bad_ratio=0.5)


def cached(folder, cache, **options):
    return CachedViews(dataset(folder), str(cache), views=VIEWS, **options)


def pixels_of(data):
    return [data[0, index]["inputs"].images[0] for index in range(len(data))]


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_values_are_those_of_the_data_set(folder, tmp_path, kind):
    plain = dataset(folder)
    kept = cached(folder, "memory" if kind == "memory" else tmp_path / "cache")
    for _ in range(2):  # rendered, then read
        for index in range(9):
            found, expected = kept[0, index]["inputs"], plain[0, index]["inputs"]
            assert torch.equal(found.images[0], expected.images[0])
            assert found.index == expected.index
            assert (found.boxes, found.photometric, int(found.label)) == ([], [], -1)
    assert sum(kept.pixels.read(index) is not None for index in range(9)) == 8


def test_state_of_a_folder_serves_the_next_run(folder, tmp_path, monkeypatch):
    """A partly filled one, too; another seed does not matter. Nothing that is there is decoded."""
    first = cached(folder, tmp_path / "cache")
    expected = pixels_of(dataset(folder))
    for index in (0, 5, 7):
        first[0, index]
    later = CachedViews(dataset(folder, seed=3), str(tmp_path / "cache"), views=VIEWS)
    decoded = []
    image = ImageFolder.image

    def noted(self, index, backend="cv2"):
        decoded.append(index)
        return image(self, index, backend)

    monkeypatch.setattr(ImageFolder, "image", noted)
    readable = [index for index in range(9) if index != 3]
    for index in readable:
        assert torch.equal(later[0, index]["inputs"].images[0], expected[index])
    assert decoded == [1, 2, 4, 6, 8]


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_state_is_shared_by_workers(folder, tmp_path, kind):
    kept = cached(folder, "memory" if kind == "memory" else tmp_path / "cache")
    loader = evaluation_loader(kept, batch_size=2, num_workers=2)
    batches = torch.cat([batch["inputs"].images[0] for batch in loader])
    assert torch.equal(batches, torch.stack(pixels_of(dataset(folder))))
    assert [index for index in range(9) if kept.pixels.read(index) is None] == [3]


def test_state_survives_pickling_as_for_spawned_workers(folder):
    kept = cached(folder, "memory")
    kept[0, 1]
    copy = pickle.loads(pickle.dumps(kept))
    assert torch.equal(copy.pixels.read(1), kept.pixels.read(1))


def test_values_of_a_half_written_row(tmp_path):
    """What a killed process left is rendered again, and so is what was damaged."""
    row = torch.arange(2 * 5000, dtype=torch.int32).to(torch.uint8).view(2, 5000)
    file = PixelFile(3, row.shape, path=tmp_path / "pixels")
    file.write(1, row)
    assert file.stride == 12288
    assert torch.equal(file.read(1), row)
    assert file.read(0) is None
    assert file.read(2) is None
    os.pwrite(file._descriptor, b"\x01", file.stride + 17)
    assert file.read(1) is None
    file.write(1, row)
    os.truncate(tmp_path / "pixels", file.stride + 6000)
    assert file.read(1) is None


def test_values_of_the_room_that_is_taken(tmp_path):
    """Only what was written takes any: 151552 bytes for a view of 224 pixels."""
    file = PixelFile(1000, (3, 224, 224), path=tmp_path / "pixels")
    assert file.stride == 151552
    before = file.num_bytes
    file.write(500, torch.ones(3, 224, 224, dtype=torch.uint8))
    os.fsync(file._descriptor)
    assert before == 0 < file.num_bytes <= 151552 + 8 * 4096


def test_raises_for_other_images_or_views(folder, tmp_path):
    cached(folder, tmp_path / "cache")
    other = dict(VIEWS, views=[dict(num=1, transforms=[dict(type="Resize", size=(20, 20))])])
    with pytest.raises(ValueError, match=r"cache is of other images, other views"):
        CachedViews(dataset(folder, other), str(tmp_path / "cache"), views=other)
    Image.fromarray(np.zeros((30, 30, 3), np.uint8)).save(folder / "4.png")
    with pytest.raises(ValueError, match="other images"):
        cached(folder, tmp_path / "cache")
    (folder / "8.png").unlink()
    with pytest.raises(ValueError, match="delete it"):
        cached(folder, tmp_path / "cache")


def test_state_of_pixels_whose_owner_is_lost(folder, tmp_path):
    """Without the file that says whose they are, pixels of other images are not taken."""
    cached(folder, tmp_path / "cache")[0, 1]
    (tmp_path / "cache" / module.ABOUT).unlink()
    Image.fromarray(np.zeros((30, 30, 3), np.uint8)).save(folder / "1.png")
    assert cached(folder, tmp_path / "cache").pixels.read(1) is None


def test_raises_for_too_little_room(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: SimpleNamespace(free=8000))
    with pytest.raises(ValueError, match=r"take 0\.0 GB more in .*cache, where 0\.0 GB are free"):
        cached(folder, tmp_path / "cache")


def test_raises_for_too_little_memory(folder, monkeypatch):
    monkeypatch.setattr(module, "free_memory", lambda: 5 * 4096)
    assert len(cached(folder, "memory", num_local=5)) == 9
    with pytest.raises(ValueError, match="GB more in the memory"):
        cached(folder, "memory", num_local=6)
    monkeypatch.setattr(module, "free_memory", lambda: 9 * 4096)
    assert len(cached(folder, "memory", num_local=10)) == 9  # shares are rounded up
    monkeypatch.setattr(module, "free_memory", lambda: 8 * 4096)
    with pytest.raises(ValueError, match="GB more in the memory"):
        cached(folder, "memory")


def test_raises_for_views_that_are_no_pixels(folder):
    two = dict(VIEWS, views=[dict(num=2, transforms=[dict(type="CenterCrop", size=8)])])
    with pytest.raises(ValueError, match=r"got 2 view\(s\)"):
        CachedViews(dataset(folder, two), "memory", views=two)
    jitter = [dict(type="CenterCrop", size=8), dict(type="RandomGrayscale")]
    device = dict(VIEWS, photometric="device", views=[dict(num=1, transforms=jitter)])
    with pytest.raises(ValueError, match="device parameters"):
        CachedViews(dataset(folder, device), "memory", views=device)


def test_raises_for_views_of_several_sizes(folder):
    views = dict(VIEWS, views=[dict(num=1, transforms=[dict(type="Resize", size=24)])])
    kept = CachedViews(dataset(folder, views), "memory", views=views)
    with pytest.raises(ValueError, match=r"image 8 gives \(3, .*Add a CenterCrop"):
        kept[0, 8]


def test_raises_for_images_that_cannot_be_recognised(tmp_path):
    with pytest.raises(TypeError, match="ToyImages has no method `fingerprint`"):
        CachedViews(ToyImages(4, sizes=[8]), str(tmp_path), views=VIEWS)


def test_values_when_nothing_more_can_be_written(folder, tmp_path, monkeypatch):
    """A full disk costs time and nothing else."""
    kept = cached(folder, tmp_path / "cache")
    said = []
    monkeypatch.setattr(module, "print_log", lambda text, logger, level: said.append((text, level)))

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwritev", full)
    for found, expected in zip(pixels_of(kept), pixels_of(dataset(folder)), strict=True):
        assert torch.equal(found, expected)
    assert len(said) == 1
    assert "No space left" in said[0][0]
    assert said[0][1] == logging.WARNING


def test_values_of_the_fingerprint(folder):
    one = dataset(folder)
    assert one.fingerprint() == dataset(folder, None, seed=5).fingerprint()
    (folder / "2.png").rename(folder / "2b.png")
    assert one.fingerprint() != dataset(folder).fingerprint()


def test_equivalence_of_other_views_of_a_data_set(folder):
    """Positions, files and the knowledge of unreadable files are shared; views and seed are not."""
    one = dataset(folder, None, seed=None)
    other = one.with_views(VIEWS, seed=7)
    assert (one.views, one.seed, other.seed) == (None, None, 7)
    assert int(other[3]["inputs"].index) != 3
    assert 3 in one.bad_files
    assert [other.path(index) for index in range(9)] == [one.path(index) for index in range(9)]
    with pytest.raises(TypeError, match="views must be a MultiView"):
        one.with_views(dict(type="CenterCrop", size=8))
