"""Package metadata of mmssl; the lists of requirements are the files in `requirements/`."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
EXTRAS = ("docs", "downstream", "evaluation", "tests")


def requirements(name: str) -> list[str]:
    """The entries of `requirements/<name>.txt`, without comments and empty lines."""
    lines = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return [entry for line in lines if (entry := line.partition("#")[0].strip())]


def version() -> str:
    """`__version__`, read without importing the package."""
    text = (ROOT / "mmssl" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise RuntimeError('mmssl/__init__.py has no line `__version__ = "..."`.')
    return found.group(1)


def long_description() -> str:
    """The README, which a build from a bare copy of the package may lack."""
    readme = ROOT / "README.md"
    return readme.read_text(encoding="utf-8") if readme.exists() else ""


extras = {name: requirements(name) for name in EXTRAS}

setup(
    name="mmssl",
    version=version(),
    description="Self-supervised pretraining of CNNs and hierarchical Transformers, the OpenMMLab way",
    long_description=long_description(),
    long_description_content_type="text/markdown",
    author="mmssl contributors",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=find_packages(include=["mmssl", "mmssl.*"]),
    # mmssl/.mim links to configs/ and tools/: `mmssl::care/...` then resolves in wheels as well.
    package_data={
        "mmssl": [
            ".mim/configs/**/*",
            ".mim/tools/**/*",
            ".mim/model-index.yml",
            *("**/*" + suffix for suffix in (".html", ".json", ".cpp", ".h")),
        ]
    },
    include_package_data=False,
    zip_safe=False,
    install_requires=requirements("runtime"),
    extras_require={**extras, "all": sorted({entry for part in extras.values() for entry in part})},
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
