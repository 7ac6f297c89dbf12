#!/usr/bin/env python3
"""Set up an environment for mmssl: torch first, then everything else, then a check that it works.

`make install`, `make test` and `make demo` call this script; a second call sees that nothing
changed and returns at once. Only the standard library is used.

What pip alone does not do, and this script does:

* `onedl-mmcv` is compiled against the torch that is installed, and the wheel is kept in a cache of
  our own whose key holds torch, Python, platform and CUDA (pip's cache knows nothing of torch). A
  kept wheel is accepted only if its operators really run.
* mmengine, mmcv, mmdet and mmseg that work already are accepted, whoever distributes them: the
  upstream and the `onedl-*` distributions provide the same modules and must not be installed over
  each other.
* `opencv-python` and `opencv-python-headless` write the same files; the headless ones are put last,
  because the others need libraries of a desktop.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import NamedTuple, NoReturn

ROOT = Path(__file__).resolve().parent.parent
MINIMUM_PYTHON = (3, 10)
MINIMUM_TORCH = (2, 6)
EXTRAS = ("docs", "downstream", "evaluation", "tests")
CORE_MODULES = ("torch", "torchvision", "mmengine", "timm", "numpy", "cv2", "mmssl")
EXTRA_MODULES = {
    "docs": ("sphinx", "myst_parser", "furo"),
    "downstream": ("mmcv", "mmdet", "mmseg"),
    "evaluation": ("sklearn", "scipy", "faiss"),
    "tests": ("pytest", "xdist", "sklearn", "faiss"),
}
# Modules that several distributions provide, and the versions of them that mmssl works with.
FAMILY = {
    "mmengine": ("onedl-mmengine", (0, 10), (1,)),
    "mmcv": ("onedl-mmcv", (2, 0), (3,)),
    "mmdet": ("onedl-mmdetection", (3, 0), (4,)),
    "mmseg": ("onedl-mmsegmentation", (1, 0), (2,)),
}
BUILD_TOOLS = ("setuptools", "wheel", "ninja", "psutil", "packaging")
HEARTBEAT_SECONDS = 20.0

PROBE = """
import importlib, importlib.metadata as metadata, json, sys
owners = metadata.packages_distributions()
report = {}
for name in sys.argv[1:]:
    entry = dict(version="", owners=sorted(set(owners.get(name, []))), error="")
    try:
        module = importlib.import_module(name)
        entry["version"] = str(getattr(module, "__version__", ""))
        if name == "torch":
            entry["cuda"] = module.version.cuda or ""
            entry["gpu"] = module.cuda.is_available()
        if name == "cv2":
            from cv2 import version
            if not version.headless and "opencv-python-headless" in entry["owners"]:
                raise RuntimeError("the files of opencv-python lie over those of the headless one")
        if name == "mmcv":
            import torch
            importlib.import_module("mmcv._ext")
            from mmcv.ops import nms, roi_align
            boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30]])
            kept = nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5)[1].tolist()
            rois = torch.tensor([[0.0, 0, 0, 4, 4]])
            pooled = roi_align(torch.ones(1, 1, 8, 8), rois, (2, 2), 1.0, 2, "avg", True)
            if kept != [0, 2] or not torch.equal(pooled, torch.ones(1, 1, 2, 2)):
                raise RuntimeError(f"its compiled operators give wrong results: {kept}, {pooled}")
    except BaseException as error:
        entry["error"] = f"{type(error).__name__}: {error}".splitlines()[0]
    report[name] = entry
print("\\n" + json.dumps(report))
"""


class Module(NamedTuple):
    """What the probe found out about one importable module."""

    name: str
    version: str
    owners: list[str]
    error: str
    cuda: str = ""
    gpu: bool = False

    @property
    def works(self) -> bool:
        """Whether it can be imported and, for mmcv, whether its operators run."""
        return not self.error


def fail(sentence: str) -> NoReturn:
    """End with one sentence on stderr."""
    sys.exit(f"mmssl set-up: {sentence}")


def say(text: str) -> None:
    """One line of progress, at once."""
    print(f"[mmssl set-up] {text}", flush=True)


def release(version: str) -> tuple[int, ...]:
    """The leading numbers of a version.

    Example:
        >>> release("2.11.0+cu130")
        (2, 11, 0)
    """
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in found.group().split(".")) if found else ()


def requirements(name: str) -> list[str]:
    """The entries of `requirements/<name>.txt`."""
    lines = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return [entry for line in lines if (entry := line.partition("#")[0].strip())]


def distribution(requirement: str) -> str:
    """The normalised name at the start of a requirement.

    Example:
        >>> distribution("onedl_mmcv>=2.3.6,<3")
        'onedl-mmcv'
    """
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def pinned(name: str) -> str:
    """The version of a distribution in the tested set."""
    for entry in requirements("constraints"):
        if distribution(entry) == name:
            return entry.partition(";")[0].partition("==")[2].strip()
    raise KeyError(f"requirements/constraints.txt does not pin {name}.")


def accepted(module: Module) -> bool:
    """Whether a member of the mm family that is installed can stay, whoever distributes it."""
    own, lowest, first_unsupported = FAMILY[module.name]
    version = release(module.version)
    if not module.works or not lowest <= version < first_unsupported:
        return False
    return own not in module.owners or version == release(pinned(own))


def fingerprint() -> str:
    """Changes when the requirements, the metadata, this script or the place of the checkout do."""
    digest = hashlib.sha256(str(ROOT).encode())
    for path in [*sorted((ROOT / "requirements").glob("*.txt")), ROOT / "setup.py", Path(__file__)]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def jobs() -> int:
    """Compilers to run at once: one per CPU, and each needs about 1 GB of memory."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**30
    except (ValueError, OSError):
        memory = cpus
    return max(1, min(cpus, memory))


class Environment:
    """A Python environment, what is in it, and the log of what was done to it.

    Args:
        python: Its interpreter.
        folder: Where the stamp and the log are written.
    """

    def __init__(self, python: Path, folder: Path) -> None:
        self.python = python
        self.folder = folder
        self.log = folder / "mmssl-setup.log"
        self.stamp = folder / "mmssl-setup.json"
        self.variables = {
            **os.environ,
            "PATH": f"{python.parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "PIP_NO_INPUT": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_PROGRESS_BAR": "off",
            "PYTHONUNBUFFERED": "1",
        }
        self.variables.pop("PYTHONPATH", None)

    def run(self, command: list[str], label: str, variables: dict[str, str] | None = None) -> None:
        """Run a command into the log, with a sign of life; end with the log's tail if it fails."""
        say(label)
        start = time.monotonic()
        next_sign = start + HEARTBEAT_SECONDS
        with self.log.open("ab") as log:
            log.write(f"\n$ {' '.join(command)}\n".encode())
            log.flush()
            begin = log.tell()
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**self.variables, **(variables or {})},
                cwd=ROOT,
            )
            while process.poll() is None:
                time.sleep(0.2)
                if time.monotonic() >= next_sign:
                    say(f"    {time.monotonic() - start:4.0f} s  {self._news(begin)}")
                    next_sign += HEARTBEAT_SECONDS
        seconds = time.monotonic() - start
        if process.returncode:
            tail = "\n".join(self._written(begin).splitlines()[-30:])
            print(tail, file=sys.stderr, flush=True)
            fail(f"'{label}' failed after {seconds:.0f} s; the whole output is in {self.log}.")
        say(f"    done in {seconds:.0f} s")

    def _written(self, begin: int) -> str:
        with self.log.open("rb") as log:
            log.seek(begin)
            return log.read().decode(errors="replace")

    def _news(self, begin: int) -> str:
        """How far a compilation is, or the last line of pip that says something."""
        text = self._written(begin)
        compiled = re.findall(r"^\s*\[(\d+)/(\d+)\]", text, re.MULTILINE)
        if compiled:
            return f"compiled {compiled[-1][0]} of {compiled[-1][1]} files"
        verbs = (
            r"^\s*((?:Collecting|Downloading|Processing|Preparing|Building|Installing|Created) .*)"
        )
        said = re.findall(verbs, text, re.MULTILINE)
        return said[-1][:80] if said else ""

    def pip(self, *arguments: str, label: str, variables: dict[str, str] | None = None) -> None:
        """Run pip of this environment."""
        self.run([str(self.python), "-m", "pip", *arguments], label, variables)

    def probe(self, *names: str) -> dict[str, Module]:
        """Import modules in this environment, in one process, and report on each."""
        done = subprocess.run(
            [str(self.python), "-c", PROBE, *names],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=self.variables,
            cwd=self.folder,
        )
        try:
            report = json.loads(done.stdout.splitlines()[-1])
        except (IndexError, ValueError):
            # An extension built for another torch can end the process; then each is tried alone.
            if len(names) == 1:
                error = f"the interpreter ended with {done.returncode}"
                return {names[0]: Module(names[0], "", [], error)}
            return {name: self.probe(name)[name] for name in names}
        return {name: Module(name, **entry) for name, entry in report.items()}


def create(folder: Path) -> None:
    """Make a virtual environment with pip in it, also where Python comes without `ensurepip`."""
    python = folder / "bin" / "python"
    if not python.exists():
        say(f"create {folder} with Python {platform.python_version()}")
        made = subprocess.run(
            [sys.executable, "-m", "venv", str(folder)], capture_output=True, text=True
        )
        if made.returncode:
            bare = [sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder)]
            if subprocess.run(bare, capture_output=True).returncode:
                fail(
                    f"{sys.executable} cannot make virtual environments; install its venv module "
                    "(Debian, Ubuntu: apt install python3-venv)."
                )
    if subprocess.run([str(python), "-m", "pip", "--version"], capture_output=True).returncode:
        other = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "pip"]
        ways = ([str(python), "-m", "ensurepip"], other)
        if all(subprocess.run(way, capture_output=True).returncode for way in ways):
            fail(f"{sys.executable} has no working pip; install pip 22.3 or newer for it.")


def check_compiler() -> None:
    """Say at once what compiling `onedl-mmcv` would miss after minutes.

    Raises:
        SystemExit: No C++17 compiler works, or Python's headers are missing.
    """
    without = "or leave out mmdet and mmseg with `make install EXTRAS=tests`"
    compiler = (os.environ.get("CXX") or "c++").split()
    include = sysconfig.get_path("include")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "probe.cpp"
        source.write_text("#include <vector>\nint main() { return std::vector<int>(1)[0]; }\n")
        command = [*compiler, "-std=c++17", str(source), "-o", f"{folder}/probe"]
        if (
            shutil.which(compiler[0]) is None
            or subprocess.run(command, capture_output=True).returncode
        ):
            fail(
                f"no working C++17 compiler ('{' '.join(compiler)}'), which onedl-mmcv needs; install one "
                f"(Debian, Ubuntu: apt install g++; macOS: xcode-select --install), {without}."
            )
    if not (Path(include) / "Python.h").exists():
        fail(
            f"Python's headers are not in {include}, and onedl-mmcv needs them; install them (Debian, "
            f"Ubuntu: apt install python3-dev), {without}."
        )


def cuda_for_build(torch: Module) -> str:
    """The CUDA version to compile for; empty for operators of the CPU only, and then a GPU gets a note."""
    if not torch.gpu:
        return ""
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    nvcc = shutil.which("nvcc") or shutil.which(f"{home}/bin/nvcc")
    text = (
        subprocess.run([nvcc, "--version"], capture_output=True, text=True).stdout if nvcc else ""
    )
    found = re.search(r"release (\d+)\.(\d+)", text)
    if found and found.group(1) == torch.cuda.partition(".")[0]:
        return torch.cuda
    have = f"nvcc {found.group(1)}.{found.group(2)}" if found else "no nvcc"
    say(
        f"note: torch was built with CUDA {torch.cuda} but there is {have}, so mmcv's operators are "
        "compiled for the CPU only; pretraining on the GPU needs none of them, mmdet on the GPU does"
    )
    return ""


def wheel_cache() -> Path:
    """Where compiled wheels are kept for every checkout of this user."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("MMSSL_CACHE") or Path(base) / "mmssl") / "wheels"


def wheel_key(version: str, torch: str, cuda: str, tag: str) -> str:
    """Everything that a compiled mmcv depends on, as the name of a folder.

    Example:
        >>> wheel_key("2.3.6", "2.11.0+cu130", "", "cpython-311-linux-x86_64-glibc2.36")
        'onedl_mmcv-2.3.6_torch-2.11.0+cu130_cpu_cpython-311-linux-x86_64-glibc2.36'
    """
    return f"onedl_mmcv-{version}_torch-{torch}_{f'cuda{cuda}' if cuda else 'cpu'}_{tag}"


def platform_tag() -> str:
    """Interpreter, system, processor and C library."""
    libc = "".join(platform.libc_ver())
    system, machine = platform.system().lower(), platform.machine()
    return f"{sys.implementation.cache_tag}-{system}-{machine}-{libc or platform.release()}"


def install_mmcv(env: Environment, torch: Module) -> None:
    """Install mmcv with working operators: a wheel that was kept, or a new one.

    Args:
        env: The environment; torch and the build tools are in it.
        torch: What the probe said about torch.
    """
    version, cuda = pinned("onedl-mmcv"), cuda_for_build(torch)
    folder = wheel_cache() / wheel_key(version, torch.version, cuda, platform_tag())

    def install(wheel: Path, label: str) -> str:
        # Its dependencies are ours too; left to pip, they would bring onedl-mmengine over an upstream one.
        env.pip("install", "--no-deps", "--force-reinstall", str(wheel), label=label)
        return env.probe("mmcv")["mmcv"].error

    for wheel in folder.glob("*.whl"):
        error = install(wheel, f"install mmcv {version} from {wheel.parent}")
        if not error:
            return
        say(f"the kept wheel does not work ({error}) and is compiled anew")
        shutil.rmtree(folder)
    check_compiler()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        variables = {"MMCV_WITH_OPS": "1", "MAX_JOBS": str(jobs())}
        # Debug information more than doubles the time of the compilation.
        for name in ("CFLAGS", "CXXFLAGS"):
            variables[name] = f"{os.environ.get(name, '')} -g0 -O2 -DNDEBUG".strip()
        if cuda:
            variables["FORCE_CUDA"] = "1"
        else:
            variables["CUDA_VISIBLE_DEVICES"] = ""
        env.pip(
            "wheel", "-v", "--no-build-isolation", "--no-deps", "--no-cache-dir",
            "--no-binary=onedl-mmcv", "--wheel-dir", scratch, f"onedl-mmcv=={version}",
            label=f"compile onedl-mmcv {version} for torch {torch.version} (minutes, {jobs()} at a time)",
            variables=variables,
        )  # fmt: skip
        (built,) = Path(scratch).glob("*.whl")
        error = install(built, f"install mmcv {version}")
        if error:
            fail(f"onedl-mmcv {version} was compiled but does not work: {error}; see {env.log}.")
        folder.mkdir(parents=True, exist_ok=True)
        os.replace(built, folder / built.name)


def constraints(env: Environment, kept: set[str], torch: str) -> list[str]:
    """Arguments of pip for the tested set, without what is kept, and with another torch if that is kept."""
    entries = [entry for entry in requirements("constraints") if distribution(entry) not in kept]
    if torch:
        entries = [e for e in entries if distribution(e) not in ("torch", "torchvision")]
        entries.append(f"torch=={torch.partition('+')[0]}")
    path = env.folder / "mmssl-constraints.txt"
    path.write_text("\n".join(entries) + "\n", encoding="utf-8")
    return ["-c", str(path)]


def install(env: Environment, extras: list[str]) -> None:
    """Bring the environment to what mmssl and the extras need; keep what works.

    Args:
        env: The environment.
        extras: Names of `EXTRAS`.
    """
    downstream = "downstream" in extras
    found = env.probe("torch", "torchvision", *(FAMILY if downstream else ["mmengine"]))
    torch = found["torch"]
    stay = {FAMILY[name][0] for name in FAMILY if name in found and accepted(found[name])}
    other_torch = ""
    if torch.works and MINIMUM_TORCH <= release(torch.version) != release(pinned("torch")):
        say(f"torch {torch.version} is kept; the tested set has {pinned('torch')}")
        other_torch = torch.version
    mmcv_missing = downstream and "onedl-mmcv" not in stay
    if mmcv_missing and not any(wheel_cache().glob(f"onedl_mmcv-{pinned('onedl-mmcv')}_*/*.whl")):
        check_compiler()
    limits = constraints(env, stay, other_torch)

    env.pip("install", *limits, *BUILD_TOOLS, "torch", "torchvision", label="torch and build tools")
    wanted = requirements("runtime") + [entry for extra in extras for entry in requirements(extra)]
    wanted = [entry for entry in wanted if distribution(entry) not in {*stay, "onedl-mmcv"}]
    for name, (own, *_) in FAMILY.items():
        others = [owner for owner in found[name].owners if owner != own] if name in found else []
        if own not in stay and others:
            why = found[name].error or f"version {found[name].version}"
            fail(
                f"{others[0]} is installed but mmssl cannot use it ({why}), and {own} provides the same "
                f"module; run `{env.python} -m pip uninstall {others[0]}` first."
            )
    env.pip("install", *limits, *wanted, label="mmengine, timm and the other packages")
    if mmcv_missing:
        install_mmcv(env, env.probe("torch")["torch"])
    elif downstream:
        say(f"mmcv {found['mmcv'].version} works and is kept")
    if not env.probe("cv2")["cv2"].works:
        version = importlib.metadata.version("opencv-python-headless")
        env.pip(
            "install", "--no-deps", "--force-reinstall", f"opencv-python-headless=={version}",
            label="put the headless OpenCV on top (the other needs a desktop)",
        )  # fmt: skip
    env.pip("install", "--no-deps", "--no-build-isolation", "-e", ".", label="mmssl itself")


def report(env: Environment, extras: list[str]) -> list[Module]:
    """Import everything once and print what works.

    Returns:
        The modules that do not work.
    """
    names = [*CORE_MODULES, *(name for extra in extras for name in EXTRA_MODULES.get(extra, ()))]
    modules = list(env.probe(*names).values())
    for module in modules:
        owner = f" ({', '.join(module.owners)})" if module.owners else ""
        say(f"  {module.name:12} " + (f"{module.version}{owner}" if module.works else module.error))
    return [module for module in modules if not module.works]


def stamped(env: Environment) -> set[str]:
    """The extras that the stamp vouches for; `{""}` more than none says that the core is in place."""
    try:
        stamp = json.loads(env.stamp.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return set()
    return (
        {"", *stamp["extras"]}
        if stamp["fingerprint"] == fingerprint() and env.python.exists()
        else set()
    )


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(description="Set up an environment for mmssl.")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--venv", type=Path, default=ROOT / ".venv", help="its folder (default .venv)"
    )
    where.add_argument(
        "--here", action="store_true", help="use the environment of this interpreter"
    )
    parser.add_argument(
        "--extras", default="downstream,tests,docs", help=f"of {', '.join(EXTRAS)}; or ''"
    )
    parser.add_argument("--check", action="store_true", help="change nothing; say what works")
    parser.add_argument("--force", action="store_true", help="go through all steps again")
    return parser.parse_args(arguments)


def main() -> None:
    """Set up, or check."""
    args = parse_args()
    if sys.version_info < MINIMUM_PYTHON:
        fail(f"Python {platform.python_version()} is too old, mmssl needs 3.10 or newer.")
    extras = [extra for extra in args.extras.split(",") if extra]
    unknown = sorted(set(extras) - set(EXTRAS))
    if unknown:
        fail(f"unknown extra {unknown[0]!r}; there are {', '.join(EXTRAS)}.")
    folder = Path(sys.prefix) if args.here else args.venv.absolute()
    python = Path(sys.executable) if args.here else folder / "bin" / "python"
    env = Environment(python, folder)
    if args.check:
        if not python.exists():
            fail(f"there is no environment in {folder} yet; run `make install`.")
        broken = report(env, extras)
        if broken:
            fail(f"{', '.join(m.name for m in broken)} cannot be used; run `make install`.")
        return
    if not args.force and {"", *extras} <= stamped(env):
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "mmssl-setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = stamped(env)
        if not args.force and {"", *extras} <= done:
            return
        if not args.here:
            create(folder)
            if Path(sys.prefix).resolve() != folder.resolve():
                # From here on with the environment's own interpreter, whose tags and paths count.
                lock.close()
                os.execv(python, [str(python), __file__, *sys.argv[1:]])
        start = time.monotonic()
        env.log.write_bytes(b"")
        install(env, extras)
        broken = report(env, extras)
        if broken:
            fail(
                f"{', '.join(m.name for m in broken)} cannot be used after the set-up; see {env.log}."
            )
        stamp = {"fingerprint": fingerprint(), "extras": sorted({*extras, *done} - {""})}
        env.stamp.write_text(json.dumps(stamp), encoding="utf-8")
        say(f"ready after {time.monotonic() - start:.0f} s: {python}")


if __name__ == "__main__":
    main()
