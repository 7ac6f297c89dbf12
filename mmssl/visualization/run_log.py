"""What a run logged: mmengine's scalar files read back as curves."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from mmssl.visualization.charts import Chart, Series

POSITIONS = frozenset({"step", "iter", "epoch"})
UNDRAWN = frozenset({"memory", "base_lr", "eta"})


@dataclass(frozen=True)
class RunLog:
    """Scalars of a run over its course.

    Attributes:
        curves: Name of a scalar -> its (position, value) pairs, positions increasing.
        x_label: What positions count, "epoch" or "iteration".
    """

    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    x_label: str = "epoch"

    def last(self, name: str) -> float | None:
        """The newest finite value of a scalar, `None` if there is none."""
        values = [value for _, value in self.curves.get(name, []) if math.isfinite(value)]
        return values[-1] if values else None


def scalar_files(work_dir: str | Path) -> list[Path]:
    """The scalar files of all sessions of a run (each start or resume makes one), oldest first."""
    return sorted(Path(work_dir).glob("*/vis_data/scalars.json"))


def read_log(work_dir: str | Path, iters_per_epoch: int | None = None) -> RunLog:
    """Join what the sessions of a run logged.

    A session that resumed replaces what an earlier one logged from there on, so that iterations that
    were repeated after a crash count once.

    Args:
        work_dir: The run's directory.
        iters_per_epoch: Turns iterations into epochs; `None` for a run that counts iterations.
    """
    per_epoch = iters_per_epoch or 1
    train: dict[int, dict] = {}
    others: dict[tuple[int, tuple[str, ...]], dict] = {}
    for path in scalar_files(work_dir):
        records = list(_records(path))
        steps = [record["iter"] for record in records if "iter" in record]
        if steps:
            train = {step: record for step, record in train.items() if step < min(steps)}
            others = {
                key: record
                for key, record in others.items()
                if record["step"] * (per_epoch if "time" in record else 1) < min(steps)
            }
        for record in records:
            if "iter" in record:
                train[record["iter"]] = train.get(record["iter"], {}) | record
            else:
                others[record["step"], tuple(sorted(record))] = record
    curves: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for record in train.values():
        _append(curves, record, record["iter"] / per_epoch)
    for record in others.values():
        # mmengine's validation lines of an epoch-based run give the epoch as their step, and only
        # they come with a time; hooks that measure something give the iteration.
        is_validation = "time" in record
        measured = {key: value for key, value in record.items() if "time" not in key}
        _append(curves, measured, record["step"] / (1 if is_validation else per_epoch))
    for points in curves.values():
        points.sort()
    return RunLog(dict(curves), "epoch" if iters_per_epoch else "iteration")


def charts_of(log: RunLog) -> list[Chart]:
    """The curves of a run grouped into charts, the most telling first."""
    names = [name for name in log.curves if name not in UNDRAWN]
    groups = [
        ("k-NN accuracy", "%", [name for name in names if name.startswith("knn")]),
        ("Correspondence of regions", "share of hits", _of("correspondence", names, "accuracy")),
        ("Distance of corresponding regions", "pixels", _of("correspondence", names, "error")),
        ("Loss", "", sorted((name for name in names if "loss" in name), key=_total_first)),
        ("Clusters: agreement with those before", "NMI", _of("cluster/nmi", names)),
        ("Clusters: prototypes with images", "", _of("cluster/used", names)),
        ("Clusters: prototypes with one member", "", _of("cluster/single", names)),
        ("Clusters: members of the largest", "", _of("cluster/members_max", names)),
        ("Clusters: members in the middle", "median", _of("cluster/members_median", names)),
        ("Clusters: members of the smallest", "", _of("cluster/members_min", names)),
        ("Clusters: temperature in the middle", "phi", _of("cluster/phi_median", names)),
        ("Clusters: least and greatest temperature", "phi", _of("cluster/phi", names)),
        ("Clusters: objective of k-means", "", _of("cluster/objective", names)),
        ("Clusters: mean cosine with the centroids", "", _of("cluster/cosine", names)),
        ("Clusters: time", "s", _of("cluster/seconds", names)),
        ("Spread of the embeddings", "1 even, 0 constant", _ending(names, "_spread")),
        ("Effective rank", "dimensions", _ending(names, "_rank")),
        ("Standard deviation", "", [name for name in names if "_std" in name]),
        ("Similarity", "cosine", [name for name in names if name.startswith("similarity")]),
        ("Learning rate", "", [name for name in names if name == "lr" or name.endswith("_lr")]),
        ("Momentum of the twin", "", [name for name in names if "momentum" in name]),
        ("Gradient norm", "", _ending(names, "grad_norm")),
        ("Time per iteration", "s", [name for name in names if name in ("time", "data_time")]),
        ("Waiting for data", "% of the loop", _ending(names, "data_wait")),
    ]
    charts: list[Chart] = []
    drawn: set[str] = set()
    for title, unit, members in groups:
        members = [name for name in members if name not in drawn]
        drawn.update(members)
        charts.extend(_chart(title, unit, members, log))
    for name in names:
        if name not in drawn:
            charts.extend(_chart(name, "", [name], log))
    return charts


def _chart(title: str, unit: str, names: list[str], log: RunLog) -> Iterable[Chart]:
    series = []
    broken = 0
    for name in names:
        positions, values = zip(*log.curves[name], strict=True)
        broken += sum(not math.isfinite(value) for value in values)
        if any(map(math.isfinite, values)):
            series.append(Series(name, positions, values))
    if series:
        note = f"{broken} values are not finite; the lines have gaps there." if broken else ""
        yield Chart(title, series, x_label=log.x_label, y_label=unit, note=note)


def _of(group: str, names: list[str], suffix: str = "") -> list[str]:
    return [name for name in names if name.startswith(group) and name.endswith(suffix)]


def _ending(names: list[str], suffix: str) -> list[str]:
    return [name for name in names if name.endswith(suffix)]


def _append(curves: dict[str, list[tuple[float, float]]], record: dict, position: float) -> None:
    for name, value in record.items():
        if name not in POSITIONS and isinstance(value, int | float) and not isinstance(value, bool):
            curves[name].append((position, float(value)))


def _records(path: Path) -> Iterable[dict]:
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            # The last line of a run that was killed while it wrote.
            continue
        if isinstance(record, dict) and "step" in record:
            yield record


def _total_first(name: str) -> tuple[bool, str]:
    return name != "loss", name
