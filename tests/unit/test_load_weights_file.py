"""Weights files: what is read, what is refused, and how that is said."""

from __future__ import annotations

import argparse
import collections
import functools
import re
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from safetensors.torch import save_file

from mmssl.convert.checkpoint_file import file_sha256, load_weights_file

STATE = {"a": torch.arange(4.0), "b": torch.ones(2, 2)}


def test_values_pth_and_safetensors_hold_the_same(tmp_path):
    torch.save(dict(state_dict=STATE), tmp_path / "w.pth")
    save_file(STATE, tmp_path / "w.safetensors", metadata={"method": "CARE"})
    for name in ("w.pth", "w.safetensors"):
        loaded = load_weights_file(tmp_path / name)["state_dict"]
        assert all(torch.equal(loaded[key], STATE[key]) for key in STATE)
    assert load_weights_file(tmp_path / "w.safetensors")["meta"] == {"method": "CARE"}


def test_values_plain_data_of_known_trainers_is_read(tmp_path):
    history = HistoryBuffer(np.array([1.0, 2.0]), np.array([1, 1]))
    content = dict(
        state_dict=collections.OrderedDict(STATE),
        args=argparse.Namespace(lr=0.1),
        message_hub=dict(log_scalars=dict(loss=history)),
    )
    torch.save(content, tmp_path / "w.pth")
    loaded = load_weights_file(tmp_path / "w.pth")
    assert loaded["args"].lr == 0.1
    assert loaded["message_hub"]["log_scalars"]["loss"].data[0].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("zipped", [True, False])
def test_raises_pickle_that_wants_more(tmp_path, zipped):
    file = tmp_path / "w.pth"
    torch.save(
        dict(state_dict=STATE, f=functools.partial(print)),
        file,
        _use_new_zipfile_serialization=zipped,
    )
    with pytest.raises(PermissionError, match="trust_pickle=True"):
        load_weights_file(file)
    assert torch.equal(load_weights_file(file, trust_pickle=True)["state_dict"]["a"], STATE["a"])


def test_raises_names_what_the_pickle_wants(tmp_path):
    torch.save(dict(f=functools.partial(print)), tmp_path / "w.pth")
    with pytest.raises(PermissionError, match="functools.partial"):
        load_weights_file(tmp_path / "w.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("trust", [True, False])
def test_raises_truncated(tmp_path, suffix, share, trust):
    file = tmp_path / f"w{suffix}"
    big = {"a": torch.randn(5000)}
    torch.save(big, file) if suffix == ".pth" else save_file(big, file)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match="truncated"):
        load_weights_file(file, trust_pickle=trust)


@pytest.mark.parametrize("content", [b"<html>404</html>", b"\x80\x02garbage", b"a,b\n1,2\n" * 100])
def test_raises_other_files(tmp_path, content):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read as a weights file") as error:
        load_weights_file(tmp_path / "w.pth")
    assert "weights_only" not in str(error.value)  # torch's advice to load it unprotected


def test_raises_missing_file_names_its_neighbours(tmp_path):
    (tmp_path / "epoch_10.pth").touch()
    with pytest.raises(FileNotFoundError, match=r"epoch_10\.pth"):
        load_weights_file(tmp_path / "epoch_11.pth")
    with pytest.raises(FileNotFoundError, match="it is a folder"):
        load_weights_file(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_weights_file(tmp_path / "nowhere" / "w.pth")


def test_raises_something_else_than_a_dictionary(tmp_path):
    torch.save(torch.zeros(2), tmp_path / "w.pth")
    with pytest.raises(ValueError, match="holds a Tensor"):
        load_weights_file(tmp_path / "w.pth")


def test_values_url_is_downloaded_once(tmp_path, monkeypatch):
    calls = []

    def download(url, target):
        calls.append(url)
        torch.save(STATE, target)

    monkeypatch.setattr("torch.hub.download_url_to_file", download)
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    for _ in range(2):
        assert torch.equal(load_weights_file("torchvision://resnet18")["a"], STATE["a"])
    assert calls == ["https://download.pytorch.org/models/resnet18-f37072fd.pth"]


def test_raises_without_a_network(tmp_path, monkeypatch):
    """In a sentence that says where the file belongs, instead of a traceback of urllib."""

    def download(url, target):
        raise URLError("no route")

    monkeypatch.setattr("torch.hub.download_url_to_file", download)
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    place = re.escape(str(tmp_path / "checkpoints/resnet18-f37072fd.pth"))
    with pytest.raises(FileNotFoundError, match=f"no route.*put the file here: {place}"):
        load_weights_file("torchvision://resnet18")


def test_values_sha256(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    assert file_sha256(tmp_path / "f").startswith("ba7816bf8f01cfea414140de5dae2223")


def test_state_mapped_weights_are_read_when_they_are_used(tmp_path):
    """The state dict alone: other parts, and files of old torch, are read at once."""
    content = dict(state_dict=dict(weight=torch.arange(9.0)), optimizer=dict(state=torch.ones(5)))
    file, old = tmp_path / "new.pth", tmp_path / "old.pth"
    torch.save(content, file)
    torch.save(content, old, _use_new_zipfile_serialization=False)
    for path, is_mapped in ((file, True), (old, False)):
        loaded = load_weights_file(path, mapped=True)
        maps = Path("/proc/self/maps")
        if maps.exists():
            assert (str(path) in maps.read_text()) == is_mapped
        path.unlink()
        assert torch.equal(loaded["state_dict"]["weight"], torch.arange(9.0))
        del loaded["state_dict"]
        assert torch.equal(loaded["optimizer"]["state"], torch.ones(5))
        assert not maps.exists() or str(path) not in maps.read_text()
