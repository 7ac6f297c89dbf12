"""Where features wait to be clustered: memory, file, sizes, a full disk."""

from __future__ import annotations

import errno
import os

import pytest
import torch

from mmssl.ops.feature_store import FeatureStore
from mmssl.ops.kmeans import KMeans


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_equivalence_of_memory_and_file(tmp_path, dtype) -> None:
    features = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(50, generator=torch.Generator().manual_seed(1))
    with (
        FeatureStore(50, 6, dtype=dtype) as memory,
        FeatureStore(50, 6, folder=tmp_path / "new" / "folder", dtype=dtype) as file,
    ):
        for store in (memory, file):
            assert store.rows.shape == (50, 6) and not store.rows.any()
            for part in order.split(8):
                store.rows[part] = features[part].to(store.rows.dtype)
        assert torch.equal(memory.rows, file.rows)
        assert torch.equal(memory.rows, features.to(getattr(torch, dtype)))
        results = [KMeans(restarts=1).fit(store.rows, 5, seed=0) for store in (memory, file)]
    assert torch.equal(results[0].centroids, results[1].centroids)


def test_state_nothing_stays_on_the_disk(tmp_path) -> None:
    used = os.statvfs(tmp_path).f_bfree
    store = FeatureStore(1000, 128, folder=tmp_path)
    store.rows[:] = 1.0
    assert list(tmp_path.iterdir()) == []  # gone even if the process is killed now
    store.close()
    store.close()
    assert os.statvfs(tmp_path).f_bfree >= used - 100
    with pytest.raises(RuntimeError, match="closed"):
        _ = store.rows


def test_raises_on_a_full_disk(tmp_path, monkeypatch) -> None:
    def full(handle, start, size):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="cannot take 512,000 bytes of features .*No space") as caught:
        FeatureStore(1000, 128, folder=tmp_path)
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_raises_on_sizes_and_folder(tmp_path) -> None:
    with pytest.raises(ValueError, match="dim >= 1"):
        FeatureStore(3, 0)
    with pytest.raises(ValueError, match="got 3, 4 and 'int8'"):
        FeatureStore(3, 4, dtype="int8")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        FeatureStore(3, 4, folder=tmp_path / "file")
    with FeatureStore(0, 4, folder=tmp_path) as store:  # a rank may have no image
        assert store.rows.shape == (0, 4)
