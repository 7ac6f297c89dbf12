"""C++ of ours: compiled once, when it is needed, for all processes; and what is said where it cannot be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmssl.ops import cpp_library as module
from mmssl.ops.cpp_library import cpp_library
from tests.helpers.aggregation import needs_compiler

ROOT = Path(__file__).parents[2]
TEXT = '#include "answer.h"\nextern "C" int answer() { return ANSWER; }\n'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where libraries go, empty."""
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "extensions"))
    monkeypatch.setattr(module, "_library_or_reason", module._library_or_reason.__wrapped__)
    return tmp_path / "extensions" / "mmssl"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "answer.h").write_text("#define ANSWER 42\n")
    (tmp_path / "deep.cpp").write_text(TEXT)
    return tmp_path / "deep.cpp"


def libraries(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.so"))


@needs_compiler
def test_values_compiled_once(source: Path, folder: Path) -> None:
    library = cpp_library(source)
    assert library.answer() == 42
    (built,) = libraries(folder)
    before = built.stat().st_mtime_ns
    assert cpp_library(source).answer() == 42
    assert built.stat().st_mtime_ns == before
    assert {each.name for each in folder.iterdir()} == {built.name, "lock"}


@needs_compiler
def test_values_another_header_is_another_library(source: Path, folder: Path) -> None:
    cpp_library(source)
    source.with_name("answer.h").write_text("#define ANSWER 43\n")
    assert cpp_library(source).answer() == 43
    assert len(libraries(folder)) == 2


@needs_compiler
def test_state_one_of_several_processes_compiles(
    source: Path, folder: Path, tmp_path: Path
) -> None:
    compiler = tmp_path / "compiler"
    compiler.write_text(
        f'#!/bin/sh\necho x >> {tmp_path}/calls\nexec {module.cpp_compiler()} "$@"\n'
    )
    compiler.chmod(0o755)
    code = (
        "from pathlib import Path; from mmssl.ops.cpp_library import cpp_library; "
        f"print(cpp_library(Path({str(source)!r})).answer())"
    )
    command = [sys.executable, "-c", code]
    environment = os.environ | {"CXX": str(compiler), "PYTHONPATH": str(ROOT)}
    runs = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) for _ in range(2)]
    assert [run.communicate()[0].decode().split()[-1] for run in runs] == ["42", "42"]
    assert (tmp_path / "calls").read_text() == "x\n"
    assert len(libraries(folder)) == 1


@needs_compiler
def test_values_without_openmp(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = tmp_path / "compiler"
    compiler.write_text(
        f'#!/bin/sh\ncase "$*" in *-fopenmp*) exit 1;; esac\nexec {module.cpp_compiler()} "$@"\n'
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    assert cpp_library(source).answer() == 42


@needs_compiler
def test_raises_what_the_compiler_says(source: Path, folder: Path) -> None:
    source.write_text("int answer() { return forty_two; }\n")
    with pytest.raises(RuntimeError, match=r"cannot compile deep.cpp:\n[^$]*forty_two"):
        cpp_library(source)
    assert not libraries(folder)


@needs_compiler
def test_raises_where_nothing_can_be_written(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "file"))
    with pytest.raises(RuntimeError, match="deep.cpp cannot be compiled and loaded"):
        cpp_library(source)


def test_raises_without_a_compiler(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(RuntimeError, match=r"no C\+\+ compiler for deep.cpp"):
        cpp_library(source)


def test_state_importing_compiles_nothing(folder: Path) -> None:
    code = "import mmssl.ops.local_aggregation"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert not folder.exists()


def test_state_the_folder_of_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert module._folder() == tmp_path / "torch_extensions" / "mmssl"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert module._folder() == Path.home() / ".cache" / "torch_extensions" / "mmssl"
