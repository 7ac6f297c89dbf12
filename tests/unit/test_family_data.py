"""Missing data of a transfer config is told with its keys, before anything is built."""

from __future__ import annotations

import pytest
from mmengine.config import Config

from mmssl.engine.family_data import check_family_data


def config(root, **changes):
    inner = dict(ann_file="lists/train.txt", data_prefix=dict(img="pictures/"), data_root=str(root))
    wrapped = dict(type="RepeatDataset", dataset=inner)
    loader = dict(dataset=dict(type="ConcatDataset", datasets=[wrapped]))
    return Config(dict(default_scope="mmdet", train_dataloader=loader, **changes))


def test_raises_with_every_path_and_key(tmp_path):
    (tmp_path / "pictures").mkdir()
    with pytest.raises(FileNotFoundError) as error:
        check_family_data(config(tmp_path))
    key = "train_dataloader.dataset.datasets.0.dataset.ann_file"
    assert f"{tmp_path}/lists/train.txt   ({key})" in str(error.value)
    assert "pictures" not in str(error.value)
    assert "make_shapes.py" in str(error.value)


def test_values_complete_data_passes(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/train.txt").touch()
    check_family_data(config(tmp_path, val_dataloader=None))
    check_family_data(config(tmp_path / "nowhere"), parts=("test",))
    remote = config(tmp_path)
    remote.train_dataloader.dataset.datasets[0].dataset.ann_file = "https://host/list.txt"
    remote.train_dataloader.dataset.datasets[0].dataset.data_root = ""
    remote.train_dataloader.dataset.datasets[0].dataset.data_prefix = dict(img=str(tmp_path))
    check_family_data(remote)


def test_values_our_own_datasets_speak_for_themselves(tmp_path):
    own = config(tmp_path)
    own.default_scope = "mmssl"
    check_family_data(own)
