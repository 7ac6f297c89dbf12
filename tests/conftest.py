"""Settings of all tests: few threads, no network, and what cannot run here is skipped."""

from __future__ import annotations

import importlib
import os

# Before torch is imported: the tests run in several processes, and one thread each is fastest.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
# A run takes the GPU that it finds, but what tests compare lies on the CPU: only those of tests/gpu see one.
os.environ.update({} if os.environ.get("MMSSL_GPU_TESTS") == "1" else {"CUDA_VISIBLE_DEVICES": ""})

import pytest
import torch
from mmengine.registry import DefaultScope

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture(autouse=True)
def own_scope():
    """A runner of mmdet or mmseg leaves its scope behind, in which our short names are unknown."""
    yield
    DefaultScope._instance_dict.clear()


def _importable(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip `downstream` tests without mmcv's operators and `gpu` tests without a device.

    mmdet or mmseg missing beside a working mmcv is a broken set-up: then the tests fail.
    """
    downstream = [item for item in items if item.get_closest_marker("downstream")]
    if downstream and not _importable("mmcv._ext"):
        for item in downstream:
            item.add_marker(pytest.mark.skip(reason="mmcv is not installed (make install)"))
    if not torch.cuda.is_available():
        reason = "there is no GPU, or MMSSL_GPU_TESTS=1 is not set (make test-gpu)"
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason=reason))
