"""Seconds that importing mmssl takes once torch is imported, in fresh interpreters.

`python tools/benchmarks/import_time.py [--repeats 5] [--limit 1.0]` prints one JSON object with the
medians for the package and for what a training imports, and fails if the package takes longer than
the limit.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys

CODE = """
import time, torch
start, cpu = time.perf_counter(), time.process_time()
{statement}
print(time.perf_counter() - start, time.process_time() - cpu)
"""
STATEMENTS = {
    "mmssl": "import mmssl",
    "mmssl.registry": "import mmssl.registry",
    "mmssl.models": "import mmssl.models",
}


def measure(statement: str, repeats: int) -> dict[str, float]:
    """Median wall-clock and CPU seconds of a statement after `import torch`.

    Args:
        statement: What to time.
        repeats: Interpreters to start; one more fills the file cache and the byte code.
    """
    times = []
    for _ in range(repeats + 1):
        command = [sys.executable, "-c", CODE.format(statement=statement)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        times.append([float(value) for value in done.stdout.split()[-2:]])
    wall, cpu = zip(*times[1:], strict=True)
    return {
        "wall_s": round(statistics.median(wall), 4),
        "cpu_s": round(statistics.median(cpu), 4),
    }


def main() -> None:
    """Measure, print, and compare with the limit."""
    parser = argparse.ArgumentParser(description="Time `import mmssl` after torch.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--limit", type=float, default=1.0, help="seconds allowed for the package")
    args = parser.parse_args()
    result = {name: measure(code, args.repeats) for name, code in STATEMENTS.items()}
    print(
        json.dumps({"python": platform.python_version(), "limit_s": args.limit, **result}, indent=2)
    )
    if result["mmssl"]["wall_s"] > args.limit:
        sys.exit(f"import mmssl took {result['mmssl']['wall_s']} s, more than {args.limit} s.")


if __name__ == "__main__":
    main()
