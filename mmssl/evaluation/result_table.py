"""The results of an evaluation as tables of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Rows = list[tuple[str, ...]]


def format_results(record: Mapping[str, Any]) -> str:
    """The results of a record.

    Args:
        record: Of `evaluate_backbone` or `evaluate_downstream`.
    """
    results = record["results"]
    tables = []
    if results.keys() & {"knn", "linear", "logistic"}:
        tables.append(_accuracies(results, record.get("num_train")))
    if "svm" in results:
        tables.append(_svm(results["svm"]))
    if "cluster" in results:
        tables.append(_clusters(results["cluster"]))
        tree = results["cluster"]["tree"]
        if tree is not None:
            tables += [_tree_levels(tree), _tree(tree)]
    if "test" in results:
        rows: Rows = [("metric", "value", "")]
        rows += [(name, f"{float(value):.4g}", "") for name, value in results["test"].items()]
        tables.append(rows)
    notes = [
        f"{record[key]} {title} image(s) could not be read and do not count."
        for part, title in (("train", "training"), ("val", "validation"))
        if record.get(key := f"num_{part}_unreadable")
    ]
    return "\n\n".join([*map(_table, tables), *notes])


def _accuracies(results: Mapping[str, Any], num_train: int | None) -> Rows:
    rows: Rows = [("evaluation", "top-1 %", "top-5 %", "")]
    for k, value in results.get("knn", {}).items():
        few = num_train is not None and num_train < int(k)
        note = f"there are only {num_train} training images: all vote" if few else ""
        rows.append((f"k-NN, k={k}", f"{value['top1']:.2f}", f"{value['top5']:.2f}", note))
    if "linear" in results:
        value = results["linear"]
        note = (
            f"lr {value['lr']:g} (chosen on: {value['selected_on']}), last epoch; "
            f"best epoch {value['best_epoch']}: {value['best_epoch_top1']:.2f}"
        )
        rows.append(("linear probe", f"{value['top1']:.2f}", f"{value['top5']:.2f}", note))
    if "logistic" in results:
        value = results["logistic"]
        note = (
            f"mean per class {value['mean_per_class']:.2f}; penalty {value['penalty']:.3g} (chosen on: "
            f"{value['selected_on']})"
        )
        if value["num_unconverged"]:
            note += f"; {value['num_unconverged']} stopped at the iteration limit"
        rows.append(("logistic regr.", f"{value['top1']:.2f}", f"{value['top5']:.2f}", note))
    return rows


def _svm(svm: Mapping[str, Any]) -> Rows:
    notes = [_costs(svm["costs"], svm["selected_on"])]
    if svm["top1"] is not None:
        notes.append(f"top-1 {svm['top1']:.2f} %")
    if svm["num_unconverged"]:
        notes.append(
            f"{svm['num_unconverged']} of {svm['num_fits']} machines stopped at the iteration limit"
        )
    rows: Rows = [("linear SVM", "mAP %", "std", "")]
    rows.append((f"all {svm['num_train']} images", f"{svm['mean_ap']:.2f}", "", "; ".join(notes)))
    for shots, value in svm["low_shot"].items():
        note = f"{len(value['runs'])} draws, C {value['cost']:g}"
        rows.append((f"k={shots}", f"{value['mean']:.2f}", f"{value['std']:.2f}", note))
    return rows


def _costs(costs: Sequence[float], selected_on: str) -> str:
    least, most = min(costs), max(costs)
    text = f"C {least:g}" if least == most else f"C {least:g} to {most:g}"
    return text if selected_on == "one cost" else f"{text} (chosen on: {selected_on})"


def _clusters(cluster: Mapping[str, Any]) -> Rows:
    rows: Rows = [("clusters", "AMI", "NMI", "ARI", "purity", "matched", "")]
    images = f"of {cluster['num_images']} images ({cluster['split']})"
    for count, scores in cluster["flat"].items():
        values = [scores[name] for name in ("ami", "nmi", "ari", "purity", "matching")]
        note = images
        if scores["num_nonempty"] < int(count):
            note += f"; {scores['num_nonempty']} are not empty"
        rows.append((str(count), *map(_score, values), note))
        rows += [
            (
                f"  against {level}",
                *(_score(own[name]) for name in ("ami", "nmi", "ari", "purity")),
                "",
                "",
            )
            for level, own in scores["levels"].items()
        ]
    return rows


def _tree_levels(tree: Mapping[str, Any]) -> Rows:
    """AMI of every level of the clusters against every level of the classes."""
    names = list(tree["dendrogram_purity"])
    rows: Rows = [("AMI of the tree", *names, "")]
    for count, scores in zip(tree["num_nonempty"], tree["levels"], strict=True):
        rows.append((f"{count} clusters", *(_score(scores[name]["ami"]) for name in names), ""))
    purities = tree["dendrogram_purity"].values()
    rows.append(("dendrogram purity", *map(_score, purities), ""))
    return rows


def _tree(tree: Mapping[str, Any]) -> Rows:
    rows: Rows = [("where pairs of images meet", "value", "")]
    rows.append(("rank correlation of the levels", _score(tree["correlation"]), "Kendall's tau-b"))
    if tree["kappa"] is not None:
        rows.append(("the same level", _score(tree["agreement"]), "share of the pairs"))
        rows.append(("the same, adjusted for chance", _score(tree["kappa"]), "Cohen's kappa"))
    return rows


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _table(rows: Rows) -> str:
    """Columns under each other: names to the left, numbers to the right, notes last."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    lines = []
    for name, *numbers, note in rows:
        cells = [f"{number:>{width}}" for number, width in zip(numbers, widths[1:], strict=True)]
        lines.append("  ".join([f"{name:<{widths[0]}}", *cells, note]).rstrip())
    return "\n".join(lines)
