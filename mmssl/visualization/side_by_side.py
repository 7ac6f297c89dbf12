"""Tables of recipes beside each other: what a step consists of, and which settings differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmssl.evaluation.training_step import TrainingStep

_CHAIN = 4  # widths that are listed one by one


def step_cells(step: TrainingStep) -> dict[str, str]:
    """A step's figures by their heading."""
    parts = "; ".join(f"{name} {_chain(widths)}" for name, widths in step.parts.items())
    return {
        "views": _views(step.views),
        "views of the twin": _views(step.twin_views),
        "momentum of the twin": _range(step.twin_momentum),
        "behind the backbone": parts or "-",
        "remembers": _memories(step.memories),
        "loss terms": ", ".join(name.removeprefix("loss_") for name in step.losses),
        "backbone M": f"{step.backbone / 1e6:.1f}",
        "trained M": f"{step.trained / 1e6:.1f}",
        "GFLOPs per image": f"{step.flops / 1e9:.1f}",
        "kept MB per image": f"{step.kept / 1e6:.0f}",
        "state MB": f"{step.state / 1e6:.0f}",
    }


def schedule_cells(settings: Mapping[str, str]) -> dict[str, str]:
    """What the table says of a recipe's optimizer, from `recipe_settings`."""
    optimizer = "optim_wrapper.optimizer"
    return {
        "optimizer": settings[optimizer],
        "learning rate": settings[f"{optimizer}.lr"],
        "weight decay": settings.get(f"{optimizer}.weight_decay", "0"),
        "batch": settings.get("auto_scale_lr.base_batch_size", "-"),
        "epochs": settings.get("train_cfg.max_epochs", "-"),
    }


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; a bar in a cell is escaped."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in lines
    )


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """Columns of plain text, each as wide as it needs to be."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def _views(views: Mapping[int, float]) -> str:
    return " + ".join(f"{number:g} x {side}" for side, number in views.items()) or "-"


def _chain(widths: Sequence[int]) -> str:
    if len(widths) > _CHAIN:
        return f"{widths[0]}-...-{widths[-1]} ({len(widths)} layers)"
    return "-".join(map(str, widths))


def _memories(memories: Mapping[str, Sequence[int]]) -> str:
    """Shapes by the part that holds them."""
    shapes: dict[str, list[str]] = {}
    for name, shape in memories.items():
        shapes.setdefault(name.partition(".")[0], []).append(" x ".join(map(str, shape)))
    return "; ".join(f"{part} {', '.join(of)}" for part, of in shapes.items()) or "-"


def _range(values: Sequence[float]) -> str:
    return " to ".join(dict.fromkeys(f"{value:g}" for value in values)) or "-"
