"""Triton kernels compiled for GPUs that are not here, and what the compiler made of them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.helpers.interpreted import INTERPRETED

HAS_COMPILER = find_spec("triton") is not None and find_spec("triton.backends.nvidia") is not None
needs_gpu_compiler = pytest.mark.skipif(
    not HAS_COMPILER or INTERPRETED, reason="needs Triton's compiler for NVIDIA devices"
)


class Built:
    """A kernel in the machine code of a device.

    Args:
        name: Of the function.
        cubin: The machine code, in the format of the device's vendor.
        folder: For files of the disassembler.
    """

    def __init__(self, name: str, cubin: bytes, folder: Path) -> None:
        self.name = name
        self._file = folder / f"{name}.cubin"
        self._cubin = cubin

    def _dump(self, option: str) -> str:
        import triton.backends.nvidia as nvidia

        self._file.write_bytes(self._cubin)
        tool = Path(nvidia.__file__).parent / "bin" / "cuobjdump"
        command = [str(tool), option, str(self._file)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    @cached_property
    def instructions(self) -> list[str]:
        """Names of its instructions in order, with what they are qualified by, such as LDG.E.128."""
        pattern = r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)"
        return re.findall(pattern, self._dump("-sass"), re.MULTILINE)

    @cached_property
    def stack(self) -> int:
        """Bytes of a thread for which there were no registers."""
        found = re.search(r"STACK:(\d+)", self._dump("--dump-resource-usage"))
        assert found, "the disassembler told no sizes"
        return int(found[1])


class _Device(NamedTuple):
    """What Triton asks of a driver before it compiles."""

    capability: int

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self) -> int:
        # Triton keeps kernels by device; no real one has such a number
        return 1000 + self.capability

    def get_current_stream(self, device: int) -> int:
        return 0


@contextmanager
def building_for(
    capability: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[Built]]:
    """Within this, launches compile and start nothing; tensors may be on any device, "meta" too.

    Args:
        capability: Of the device, 90 for 9.0.
        folder: For what is compiled; what lies there from before is not trusted.
        monkeypatch: Of the test.

    Yields:
        The kernels in the order of their launches.
    """
    from triton.runtime import driver
    from triton.runtime.jit import JITFunction

    built: list[Built] = []
    compile_and_launch = JITFunction.run

    def compile_only(self: Any, *args: Any, warmup: bool, **options: Any) -> Any:
        kernel = compile_and_launch(self, *args, warmup=True, **options)
        built.append(Built(self.__name__, kernel.asm["cubin"], folder))
        return kernel

    with monkeypatch.context() as patch:
        patch.setenv("TRITON_CACHE_DIR", str(folder / "cache"))
        patch.setattr(driver, "_active", _Device(capability))
        patch.setattr(JITFunction, "run", compile_only)
        yield built
