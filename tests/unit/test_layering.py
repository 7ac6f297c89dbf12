"""Who may import whom: the floors of the architecture, enforced on the parsed imports."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "mmssl"

# Longest prefix wins. A package's __init__ that gathers others is listed on the highest of their floors.
FLOORS = {
    "mmssl.structures": 0,
    "mmssl.ops": 0,
    "mmssl.losses": 0,
    "mmssl.registry": 1,
    "mmssl.models.layers": 2,
    "mmssl.datasets": 2,
    "mmssl.models.backbones": 3,
    "mmssl.models.necks": 3,
    "mmssl.models.heads": 3,
    "mmssl.models.memories": 3,
    "mmssl.models.momentum_twin": 3,
    "mmssl.models.data_preprocessor": 3,
    "mmssl.models.algorithms": 4,
    "mmssl.models": 4,
    "mmssl.engine": 5,
    "mmssl.evaluation": 5,
    "mmssl.convert": 5,
    "mmssl.visualization": 5,
    # What mmdet and mmseg import by `custom_imports`: nothing of ours imports it, it may need mmcv.
    "mmssl.downstream": 6,
}
BASE = "mmssl.models.algorithms.base"
# Third-party modules that a floor may import at the top of a file.
IMAGES = {"PIL", "cv2", "torchvision"}
ALLOWED = {
    0: {"torch", "numpy"},
    1: {"torch", "numpy", "mmengine"},
    2: {"torch", "numpy", "mmengine", *IMAGES},
    3: {"torch", "numpy", "mmengine", "timm", *IMAGES},
    4: {"torch", "numpy", "mmengine"},
    5: {"torch", "numpy", "mmengine", "timm", "matplotlib", "rich", "safetensors", *IMAGES},
    6: {"torch", "numpy", "mmengine", "mmcv", "mmdet", "mmseg"},
}
# Imports inside functions are for these: not needed by all, not installed everywhere, or slow.
OPTIONAL = {
    "mmcv", "mmdet", "mmseg", "timm", "cv2", "matplotlib", "triton", "tensorboard", "safetensors",
    "sklearn", "scipy", "faiss", "rich",
}  # fmt: skip


# GPU code: it imports triton at the top, and is imported inside functions only, except by itself.
GPU_FILES = ("triton", "kernels")  # ends of their names


class Import(NamedTuple):
    """One imported module: by whom, where, and whether inside a function."""

    importer: str
    module: str
    line: int
    nested: bool

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.module}"


def sources() -> dict[str, Path]:
    """Dotted name to file, of every module of the package."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        if not any(part.startswith(".") for part in parts):
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = sources()


def is_gpu_file(module: str) -> bool:
    """Whether a module is GPU code of an operator."""
    return module.startswith("mmssl.ops.") and module.endswith(GPU_FILES)


def only_for_types(node: ast.If) -> bool:
    """Whether an `if` is `if TYPE_CHECKING`, whose imports never run."""
    test = node.test
    return getattr(test, "id", getattr(test, "attr", "")) == "TYPE_CHECKING"


def imports_of(name: str, path: Path, modules: set[str]) -> list[Import]:
    """All imports of one file; `from package import module` counts as an import of the module."""
    found: list[Import] = []

    def resolve(node: ast.ImportFrom) -> list[str]:
        base = node.module or ""
        if node.level:
            package = name if path.name == "__init__.py" else name.rpartition(".")[0]
            parents = package.split(".")
            base = ".".join([*parents[: len(parents) - node.level + 1], *([base] if base else [])])
        if base.partition(".")[0] != "mmssl":
            return [base]
        inner = [f"{base}.{alias.name}" for alias in node.names]
        targets = [module if module in modules else base for module in inner]
        return sorted(set(targets))

    def visit(node: ast.AST, nested: bool) -> None:
        if isinstance(node, ast.If) and only_for_types(node):
            return
        if isinstance(node, ast.Import):
            found.extend(Import(name, alias.name, node.lineno, nested) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.extend(Import(name, module, node.lineno, nested) for module in resolve(node))
        nested = nested or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, nested)

    visit(ast.parse(path.read_text(encoding="utf-8")), nested=False)
    return found


IMPORTS = [each for name, path in MODULES.items() for each in imports_of(name, path, set(MODULES))]


def floor(module: str) -> int | None:
    """The floor of a module, `None` for the package's own `__init__`."""
    while module:
        if module in FLOORS:
            return FLOORS[module]
        module = module.rpartition(".")[0]
    return None


def is_upward(each: Import) -> bool:
    """Whether an import of ours goes against the floors, or sideways between methods."""
    mine, theirs = floor(each.importer), floor(each.module)
    if each.module == each.importer or mine is None or theirs is None:
        return False
    algorithms = "mmssl.models.algorithms"
    if mine == theirs == 4:
        gathers = each.importer in (algorithms, "mmssl.models")
        return not gathers and each.module != BASE
    if mine == 5 and theirs == 4:
        return each.module != BASE
    if mine == theirs == 2:
        own = (
            "mmssl.datasets"
            if each.importer.startswith("mmssl.datasets")
            else "mmssl.models.layers"
        )
        return not each.module.startswith(own)
    return theirs > mine


@pytest.mark.parametrize(
    ("importer", "module", "upward"),
    [
        ("mmssl.losses.cosine", "mmssl.ops.schedules", False),
        ("mmssl.losses.cosine", "mmssl.registry", True),
        ("mmssl.models.layers.x", "mmssl.datasets.y", True),
        ("mmssl.models.backbones.resnet", "mmssl.models", True),
        ("mmssl.models.algorithms.care", BASE, False),
        ("mmssl.models.algorithms.care", "mmssl.models.algorithms.byol", True),
        ("mmssl.engine.hooks.x", BASE, False),
        ("mmssl.engine.hooks.x", "mmssl.models.algorithms.care", True),
        ("mmssl.engine.hooks.x", "mmssl.models.momentum_twin", False),
    ],
)
def test_values_rule(importer: str, module: str, upward: bool) -> None:
    assert is_upward(Import(importer, module, 1, False)) is upward


def test_values_every_module_has_a_floor() -> None:
    assert {"mmssl.registry", "mmssl.ops.schedules", BASE} <= set(MODULES)
    assert [name for name in MODULES if name != "mmssl" and floor(name) is None] == []


def test_values_no_import_upwards() -> None:
    ours = [each for each in IMPORTS if each.module.partition(".")[0] == "mmssl"]
    assert len(ours) > 5
    wrong = [str(each) for each in ours if is_upward(each)]
    assert not wrong, "\n".join(wrong)


def test_values_third_party_imports_of_each_floor() -> None:
    wrong = []
    for each in IMPORTS:
        root = each.module.partition(".")[0]
        if root in sys.stdlib_module_names or root == "mmssl":
            continue
        allowed = ALLOWED.get(floor(each.importer) or 0, set())
        if is_gpu_file(each.importer):
            allowed = allowed | {"triton"}
        if root not in (allowed | OPTIONAL if each.nested else allowed):
            wrong.append(str(each))
    assert not wrong, "\n".join(wrong)


def test_values_nested_imports_are_optional_ones() -> None:
    nested = [each for each in IMPORTS if each.nested]
    wrong = [
        str(each)
        for each in nested
        if each.module.partition(".")[0] not in OPTIONAL and not is_gpu_file(each.module)
    ]
    assert wrong == []


def test_values_gpu_files_are_imported_when_needed() -> None:
    at_once = [each for each in IMPORTS if is_gpu_file(each.module) and not each.nested]
    assert [str(each) for each in at_once if not is_gpu_file(each.importer)] == []


def test_values_no_cycles() -> None:
    edges: dict[str, set[str]] = {name: set() for name in MODULES}
    for each in IMPORTS:
        if each.module in MODULES and each.module != each.importer and not each.nested:
            edges[each.importer].add(each.module)
    done: set[str] = set()

    def walk(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path, name))
        if name not in done:
            for other in sorted(edges[name]):
                walk(other, (*path, name))
            done.add(name)

    for name in MODULES:
        walk(name, ())


def test_values_importing_the_package_imports_nothing_else() -> None:
    assert [each for each in IMPORTS if each.importer == "mmssl"] == []
