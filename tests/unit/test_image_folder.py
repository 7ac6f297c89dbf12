"""ImageFolder: what is found, labelled, replaced; and the loader around it."""

from __future__ import annotations

import logging
import os
import pickle
from pathlib import Path

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from mmssl.datasets import BadFiles, ImageFolder, MultiView, TooManyBadFilesError
from mmssl.datasets.path_table import PathTable
from mmssl.structures import ViewBatch
from tests.helpers.pictures import SMALL_VIEWS, write_folder


@pytest.fixture(autouse=True)
def _scope() -> None:
    init_default_scope("mmssl")


def spoil(paths: list[Path], positions: list[int]) -> None:
    for position in positions:
        paths[position].write_bytes(b"\xff\xd8 no picture")


def loader(root: Path, *, workers: int = 0, batch: int = 4, seed: int = 3, **options: object):
    """A loader as the runner builds it from a config."""
    dataset = dict(type="ImageFolder", root=str(root), views=SMALL_VIEWS)
    dataset.update(options.pop("dataset", {}))
    config = dict(
        batch_size=batch,
        num_workers=workers,
        persistent_workers=workers > 0,
        sampler=dict(type="CounterSampler", shuffle=True, **options.pop("sampler", {})),
        collate_fn=dict(type="default_collate"),
        dataset=dataset,
        **options,
    )
    return Runner.build_dataloader(config, seed=seed)


def contents(views: ViewBatch) -> dict[int, tuple]:
    """Bytes of all views, boxes and parameters, by image."""
    tensors = [*views.images, *views.boxes, *views.photometric]
    return {
        int(index): tuple(tensor[row].numpy().tobytes() for tensor in tensors)
        for row, index in enumerate(views.index)
    }


def epochs(built, num: int = 2) -> list[dict[int, tuple]]:
    seen = []
    for epoch in range(num):
        built.sampler.set_epoch(epoch)
        samples: dict[int, tuple] = {}
        for batch in built:
            samples.update(contents(batch["inputs"]))
        seen.append(samples)
    return seen


def test_values_of_a_batch(tmp_path: Path) -> None:
    write_folder(tmp_path, 6, classes=("a", "b", "c"))
    batch = next(iter(loader(tmp_path)))["inputs"]
    assert isinstance(batch, ViewBatch)
    assert [tuple(image.shape) for image in batch.images] == [(4, 3, 16, 16)] * 2 + [(4, 3, 8, 8)]
    assert {image.dtype for image in batch.images} == {torch.uint8}
    assert [tuple(box.shape) for box in batch.boxes] == [(4, 4)] * 3
    assert batch.photometric == []
    # two images per class, sorted by path: 0 0 1 1 2 2
    assert batch.label.tolist() == (batch.index // 2).tolist()


def test_views_do_not_depend_on_workers_batches_or_ranks(tmp_path: Path) -> None:
    """Bit-equal for 0, 1, 2 persistent workers over two epochs, two batch sizes, one and two ranks."""
    write_folder(tmp_path, 12)
    expected = epochs(loader(tmp_path))
    assert sorted(expected[0]) == list(range(12))
    assert all(expected[0][index] != expected[1][index] for index in range(12))
    for options in (
        dict(workers=1),
        dict(workers=2, batch=3),
        dict(batch=8),
        dict(batch=5, dataset=dict(views=dict(SMALL_VIEWS, backend="cv2"))),
    ):
        assert epochs(loader(tmp_path, **options)) == expected
    ranks = [
        epochs(loader(tmp_path, workers=rank, sampler=dict(rank=rank, world_size=2)))
        for rank in range(2)
    ]
    assert [ranks[0][epoch] | ranks[1][epoch] for epoch in range(2)] == expected
    assert not set(ranks[0][0]) & set(ranks[1][0])


def test_views_depend_on_the_seed(tmp_path: Path) -> None:
    write_folder(tmp_path, 4)
    assert epochs(loader(tmp_path, seed=3), 1) == epochs(loader(tmp_path, seed=3), 1)
    assert epochs(loader(tmp_path, seed=3), 1) != epochs(loader(tmp_path, seed=4), 1)
    fixed = [epochs(loader(tmp_path, seed=seed, dataset=dict(seed=9)), 1)[0] for seed in (3, 4)]
    assert fixed[0] == fixed[1]


def test_one_view_is_rendered_again_from_its_address(tmp_path: Path) -> None:
    write_folder(tmp_path, 5)
    built = loader(tmp_path, workers=2)
    expected = epochs(built)[1][2]
    folder = ImageFolder(str(tmp_path), SMALL_VIEWS, seed=3)
    sample = folder[1, 2]["inputs"]
    tensors = [*sample.images, *sample.boxes]
    assert tuple(tensor.numpy().tobytes() for tensor in tensors) == expected


def test_device_rows_reach_the_batch(tmp_path: Path) -> None:
    write_folder(tmp_path, 4)
    views = dict(SMALL_VIEWS, photometric="device")
    batch = next(iter(loader(tmp_path, dataset=dict(views=views))))["inputs"]
    # 10 + 2 + 3 + 3 for jitter, grayscale, blur, solarisation; the small view has none
    assert [tuple(rows.shape) for rows in batch.photometric] == [(4, 18), (4, 18), (4, 0)]


def test_values_found_files(tmp_path: Path) -> None:
    write_folder(tmp_path / "x" / "deep", 2)
    write_folder(tmp_path / "a", 1)
    (tmp_path / "notes.txt").write_text("none")
    (tmp_path / "a" / ".hidden.jpg").write_bytes(b"")
    (tmp_path / "a" / "000.jpg").rename(tmp_path / "a" / "UPPER.JPG")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "a" / "na\u00efve \u5b57.png").write_bytes(b"")
    folder = ImageFolder(str(tmp_path))
    found = [os.path.relpath(folder.path(index), tmp_path) for index in range(len(folder))]
    assert found == ["a/UPPER.JPG", "a/na\u00efve \u5b57.png", "x/deep/000.jpg", "x/deep/001.jpg"]
    assert folder.classes == ["a", "x"]
    assert folder.labels == [0, 0, 1, 1]


def test_values_links_count_once(tmp_path: Path) -> None:
    """Links beside the folder that they lead to, and out of the root to a folder above it."""
    write_folder(tmp_path / "root" / "zz", 1)
    for name in ("a", "zy", "zzz"):
        (tmp_path / "root" / name).symlink_to(tmp_path / "root" / "zz")
    (tmp_path / "root" / "up").symlink_to(tmp_path)
    write_folder(tmp_path / "outside", 1)
    folder = ImageFolder(str(tmp_path / "root"))
    found = [os.path.relpath(folder.path(i), tmp_path / "root") for i in range(len(folder))]
    assert found == ["up/outside/000.jpg", "zz/000.jpg"]


@pytest.mark.parametrize("labels", ["auto", False])
def test_values_without_labels(tmp_path: Path, labels: object) -> None:
    write_folder(tmp_path, 2)
    write_folder(tmp_path / "a", 2)
    folder = ImageFolder(str(tmp_path), SMALL_VIEWS, labels=labels)
    assert folder.classes is None
    assert folder.labels == [-1] * 4
    assert folder[0]["inputs"].label.item() == -1


def test_raises_on_labels_without_class_folders(tmp_path: Path) -> None:
    write_folder(tmp_path, 2)
    with pytest.raises(ValueError, match="2 images lie directly"):
        ImageFolder(str(tmp_path), labels=True)


def test_raises_on_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent does not exist"):
        ImageFolder(str(tmp_path / "absent"))
    (tmp_path / "readme.md").write_text("none")
    with pytest.raises(FileNotFoundError, match=r"end with \.jpg, .*found 1 other files"):
        ImageFolder(str(tmp_path))
    with pytest.raises(FileNotFoundError, match="is a file"):
        ImageFolder(str(tmp_path / "readme.md"))


def test_raises_on_wrong_views(tmp_path: Path) -> None:
    write_folder(tmp_path, 1)
    with pytest.raises(TypeError, match="must be a MultiView"):
        ImageFolder(str(tmp_path), dict(type="RandomGrayscale"))
    with pytest.raises(RuntimeError, match="views=None"):
        ImageFolder(str(tmp_path))[0]
    with pytest.raises(ValueError, match="at least one view"):
        MultiView([])


def test_values_path_table() -> None:
    paths = ["a.jpg", "", "\u5b57/b c.png", "z"]
    table = pickle.loads(pickle.dumps(PathTable(paths)))
    assert [table[index] for index in range(4)] == paths
    assert table[-1] == "z"
    with pytest.raises(IndexError):
        table[4]


class TestUnreadableFiles:
    def test_replacement_changes_nothing_else(self, tmp_path: Path) -> None:
        """5 % planted: training goes on; all workers agree; the good images are untouched."""
        paths = write_folder(tmp_path, 40)
        clean = epochs(loader(tmp_path), 1)[0]
        spoil(paths, [7, 23])
        runs = [loader(tmp_path, workers=workers) for workers in (0, 1, 2)]
        results = [epochs(run) for run in runs]
        assert results[0] == results[1] == results[2]
        assert results[0][0] == {key: clean[key] for key in clean if key not in (7, 23)}
        for run in runs:
            assert run.dataset.bad_files.indices() == [7, 23]

    def test_replacement_is_the_whole_other_sample(self, tmp_path: Path) -> None:
        paths = write_folder(tmp_path, 30, classes=("a", "b"))
        spoil(paths, [4])
        folder = ImageFolder(str(tmp_path), SMALL_VIEWS, seed=1)
        drawn = {}
        for epoch in range(6):
            sample = folder[epoch, 4]["inputs"]
            other = folder[epoch, int(sample.index)]["inputs"]
            assert torch.equal(sample.images[0], other.images[0])
            assert int(sample.label) == folder.labels[int(sample.index)]
            drawn[epoch] = int(sample.index)
        assert len(set(drawn.values())) > 2

    def test_spawned_workers_share_the_count(self, tmp_path: Path) -> None:
        """Without fork the dataset travels by pickle; the marks must stay in shared memory."""
        paths = write_folder(tmp_path, 30)
        spoil(paths, [4])
        built = loader(tmp_path, workers=1, multiprocessing_context="spawn")
        assert epochs(built, 1)[0] == epochs(loader(tmp_path), 1)[0]
        assert built.dataset.bad_files.indices() == [4]

    def test_each_is_logged_once_with_its_path(self, tmp_path: Path) -> None:
        paths = write_folder(tmp_path, 30)
        spoil(paths, [4])
        folder = ImageFolder(str(tmp_path), SMALL_VIEWS)
        messages: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: messages.append(record.getMessage())
        logger = MMLogger.get_current_instance()
        logger.addHandler(handler)
        try:
            for epoch in range(3):
                folder[epoch, 4]
        finally:
            logger.removeHandler(handler)
        assert len(messages) == 1
        assert str(paths[4]) in messages[0]

    @pytest.mark.parametrize("workers", [0, 2])
    def test_too_many_stop_the_run_with_a_list(self, tmp_path: Path, workers: int) -> None:
        paths = write_folder(tmp_path, 30)
        spoil(paths, [3, 4, 11])
        with pytest.raises(TooManyBadFilesError, match="max_bad_ratio") as caught:
            epochs(loader(tmp_path, workers=workers), 1)
        assert str(caught.value).count(".jpg") >= 2
        for line in str(caught.value).split("\n"):
            if line.strip().startswith(str(tmp_path)):
                assert int(Path(line.strip()).stem) in (3, 4, 11)
        generous = loader(tmp_path, workers=workers, dataset=dict(max_bad_ratio=0.2))
        assert len(epochs(generous, 1)[0]) >= 27
        assert len(generous.dataset.bad_files) == 3

    def test_a_folder_of_nothing_readable_stops(self, tmp_path: Path) -> None:
        paths = write_folder(tmp_path, 5)
        spoil(paths, range(5))
        folder = ImageFolder(str(tmp_path), SMALL_VIEWS, max_bad_ratio=1.0)
        with pytest.raises(TooManyBadFilesError, match="in a row are unreadable"):
            folder[0]

    def test_clear_evidence_stops_before_the_epoch_ends(self) -> None:
        bad = BadFiles(100_000, 0.05, name="big", path=lambda index: f"{index}.jpg")
        for index in range(399):
            bad.note_tried(index)
            if index % 4 == 3:
                bad.add(index, "broken")
        bad.note_tried(399)
        with pytest.raises(TooManyBadFilesError, match="100 of the 400 images"):
            bad.add(399, "broken")
