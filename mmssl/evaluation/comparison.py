"""Comparison: the commands that pretrain and measure methods side by side, and what they found."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

from mmssl.convert.checkpoint_file import load_weights_file
from mmssl.datasets.shapes.generate import VERSION as SHAPES_VERSION
from mmssl.engine.command_plan import Command
from mmssl.engine.command_queue import last_scalars, newest_checkpoint
from mmssl.engine.config import load_config
from mmssl.evaluation.claims import Claim
from mmssl.registry import MODELS
from mmssl.visualization.run_log import read_log

MEASURES = {
    "knn": "k-NN, %",
    "linear": "linear, %",
    "detect": "box AP, %",
    "segment": "mIoU, %",
    "correspondence": "correspondence, %",
    "false_removed": "false negatives removed, %",
    "true_removed": "true negatives removed, %",
}
# the command whose result has a measure, where it is called otherwise
_COMMANDS = dict(knn="probe", linear="probe", false_removed="negatives", true_removed="negatives")
CURVE = "knn at "
_PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Contestant:
    """A method with a recipe.

    Attributes:
        config: The leaf.
        options: Changes of it, as `key=value`.
        trains: Whether it is pretrained; otherwise its network is measured as it starts.
        epochs: Factor on the epochs of the budget: 2 for one view per image.
        transfers: Whether it is the network of the detector and the segmentor.
        samples: Of the config, what has to be the number of training images; "" for nothing.
        extra: What else is measured of it: `correspondence`, or `negatives` that its prototypes would remove.
        slow: Left out unless it is named.
    """

    config: str
    options: Sequence[str] = ()
    trains: bool = True
    epochs: int = 1
    transfers: bool = True
    samples: str = ""
    extra: Literal["", "correspondence", "negatives"] = ""
    slow: bool = False

    def __post_init__(self) -> None:
        if self.extra not in ("", "correspondence", "negatives"):
            raise ValueError(
                f"extra must be 'correspondence', 'negatives' or '', got {self.extra!r}."
            )
        if not self.trains and (self.options or self.extra == "negatives"):
            raise ValueError(
                f"{self.config} is not trained: it can have neither options nor prototypes that would "
                "remove negatives."
            )


@dataclass(frozen=True)
class Budget:
    """What every contestant gets alike.

    Attributes:
        epochs: Of pretraining.
        images: Unlabelled images that are drawn.
        labels: Labelled images of detection and segmentation.
        iters: Iterations of each of them.
        size: Side of the images whose features are measured, in pixels.
        amp: Whether they pretrain in bfloat16.
    """

    epochs: int
    images: int
    labels: int
    iters: int
    size: int
    amp: bool = False


@dataclass(frozen=True)
class Comparison:
    """Contestants, budget and claims of a comparison, and where it takes place.

    Attributes:
        root: Folder of `tools` and `configs`.
        folder: Where everything goes.
        data: The drawn images.
        budget: See there.
        detector: Leaf of the detector.
        segmentor: Leaf of the segmentor.
        selection: Leaf with the numbers of prototypes that select negatives.
        contestants: By name.
        claims: See there.
    """

    root: Path
    folder: Path
    data: Path
    budget: Budget
    detector: str
    segmentor: str
    selection: str
    contestants: Mapping[str, Contestant] = field(default_factory=dict)
    claims: Sequence[Claim] = ()

    def run_folder(self, name: str, seed: int) -> Path:
        """Work folder of a pretraining."""
        return self.folder / f"{slug(name)}_s{seed}"

    def commands(
        self, names: Sequence[str], seeds: Sequence[int], *, tasks: Sequence[str]
    ) -> list[Command]:
        """Everything, seeds outermost, so that what is cut short has whole seeds.

        Args:
            names: Contestants.
            seeds: Of pretraining and fine-tuning.
            tasks: Out of `knn`, `linear`, `detect`, `segment`; the first two are one command.
        """
        number = str(self.budget.images)
        draw: list[str | Path] = [
            "tools/make_shapes.py", self.data, "--num-unlabelled", number,
        ]  # fmt: skip
        found = [Command("draw", lambda: draw, key=f"{SHAPES_VERSION} {number}", always=True)]
        for seed in seeds:
            for name in names:
                contestant = self.contestants[name]
                if contestant.trains:
                    found.append(self._pretrain(name, seed))
                if {"knn", "linear"} & set(tasks):
                    found.append(self._probe(name, seed))
                for task in ("detect", "segment"):
                    if contestant.transfers and task in tasks:
                        found += self._transfer(name, seed, task)
                if contestant.extra == "correspondence":
                    found.append(self._correspondence(name, seed))
                if contestant.extra == "negatives":
                    found.append(self._negatives(name, seed))
        return found

    def _checkpoint(self, name: str, seed: int) -> str | Path:
        trains = self.contestants[name].trains
        return newest_checkpoint(self.run_folder(name, seed)) if trains else "none"

    def _before(self, name: str, seed: int) -> list[str]:
        return [f"pretrain {name} s{seed}" if self.contestants[name].trains else "draw"]

    def _pretrain(self, name: str, seed: int) -> Command:
        """An interrupted run is resumed."""
        contestant = self.contestants[name]
        options = [
            f"train_dataloader.dataset.root={self.data / 'unlabelled'}",
            f"train_cfg.max_epochs={self.budget.epochs * contestant.epochs}",
            f"randomness.seed={seed}",
            *([f"{contestant.samples}={self.budget.images}"] if contestant.samples else []),
            *(
                f"custom_hooks.0.{part}.root={self.data / 'classify' / part}"
                for part in ("train", "val")
            ),
            *contestant.options,
        ]
        switches = ["--resume", *(["--amp"] if self.budget.amp else [])]
        folder = self.run_folder(name, seed)
        # no part of the key: what is kept on the way changes no result
        kept = "default_hooks.checkpoint.max_keep_ckpts=2"
        words: list[str | Path] = [
            "tools/train.py", contestant.config, *switches,
            "--work-dir", folder, "--cfg-options", *options, kept,
        ]  # fmt: skip
        return Command(
            f"pretrain {name} s{seed}",
            lambda: words,
            lambda: _read_curve(folder),
            after=["draw"],
            key=self._key(contestant.config, [*switches, *options]),
            folder=folder,
        )

    def _probe(self, name: str, seed: int) -> Command:
        """k-NN and linear accuracy of the backbone."""
        out = self.folder / f"probe_{slug(name)}_s{seed}.json"
        config = self.contestants[name].config

        def words() -> list[str | Path]:
            return [
                "tools/test.py", config, self._checkpoint(name, seed), "--knn", "--linear",
                "--seed", str(seed), "--out", out, "--size", str(self.budget.size),
                "--train", self.data / "classify/train", "--val", self.data / "classify/val",
            ]  # fmt: skip

        def read() -> dict[str, float]:
            results = json.loads(out.read_text())["results"]
            return dict(knn=results["knn"]["20"]["top1"], linear=results["linear"]["top1"])

        key = self._key(config, [str(self.budget.size), *self._published(config)])
        return Command(
            f"probe {name} s{seed}", words, read, after=self._before(name, seed), key=key
        )

    def _transfer(self, name: str, seed: int, task: str) -> list[Command]:
        """Export to the library of a task, and fine-tune with few labels."""
        detects = task == "detect"
        library, config = ("mmdet", self.detector) if detects else ("mmseg", self.segmentor)
        data = self.data / ("coco" if detects else "voc")
        weights = self.folder / f"{slug(name)}_s{seed}_{library}.pth"
        folder = self.folder / f"{task}_{slug(name)}_s{seed}"
        trained = self.contestants[name].trains
        options = [
            f"load_from={weights if trained else None}",
            f"train_cfg.max_iters={self.budget.iters}",
            f"train_cfg.val_interval={self.budget.iters}",
            f"randomness.seed={seed}",
            f"train_dataloader.dataset.indices={self.budget.labels}",
            *(f"{part}_dataloader.dataset.data_root={data}/" for part in _PARTS),
        ]
        if detects:
            file = data / "annotations/instances_val.json"
            options += [f"{part}_evaluator.ann_file={file}" for part in ("val", "test")]
        export = Command(
            f"export {name} s{seed} to {library}",
            lambda: [
                "tools/export_backbone.py", self._checkpoint(name, seed), weights, "--to", library,
            ],
            after=self._before(name, seed),
            key=library,
            product=weights,
        )  # fmt: skip
        factors = {"coco/bbox_mAP": 100.0, "coco/bbox_mAP_50": 100.0} if detects else {"mIoU": 1.0}
        absent = 0.0 if detects else None  # no AP without a box

        def read() -> dict[str, float]:
            _check_whole(folder)
            found = last_scalars(folder, factors, absent=absent)
            if not detects:
                return dict(segment=found["mIoU"])
            return dict(detect=found["coco/bbox_mAP"], detect50=found["coco/bbox_mAP_50"])

        tune = Command(
            f"{task} {name} s{seed}",
            lambda: ["tools/train.py", config, "--work-dir", folder, "--cfg-options", *options],
            read,
            after=[export.name if trained else "draw"],
            key=self._key(config, options),
        )
        return [export, tune] if trained else [tune]

    def _correspondence(self, name: str, seed: int) -> Command:
        """The share of regions that are found again in a mirrored copy."""
        out = self.folder / f"correspondence_{slug(name)}_s{seed}.json"
        contestant = self.contestants[name]
        network = [] if contestant.trains else ["--config", contestant.config, "--seed", str(seed)]

        def words() -> list[str | Path]:
            return [
                "tools/correspondence.py", self._checkpoint(name, seed), *network, "--out", out,
                "--images", self.data / "unlabelled", "--num-images", "1000",
                "--size", str(self.budget.size),
            ]  # fmt: skip

        def read() -> dict[str, float]:
            accuracy = json.loads(out.read_text())["result"]["accuracy"]
            return dict(correspondence=100 * accuracy)

        before = self._before(name, seed)
        key = self._key(
            contestant.config,
            [str(self.budget.size), "published", *self._published(contestant.config)],
        )
        return Command(f"correspondence {name} s{seed}", words, read, after=before, key=key)

    def _negatives(self, name: str, seed: int) -> Command:
        """What a selection by the coarsest prototypes removes of the own class, and of the others."""
        out = self.folder / f"negatives_{slug(name)}_s{seed}.json"

        def words() -> list[str | Path]:
            return [
                "tools/prototype_scores.py", self.selection, self._checkpoint(name, seed),
                "--data", self.data / "unlabelled.csv", "--hierarchy", "shapes", "--out", out,
            ]  # fmt: skip

        def read() -> dict[str, float]:
            levels = json.loads(out.read_text())["scores"]["selection"][-1]
            recall, _, kept, _ = levels["variety"]
            return dict(false_removed=100 * recall, true_removed=100 * (1 - kept))

        before, key = self._before(name, seed), self._key(self.selection, [])
        return Command(f"negatives {name} s{seed}", words, read, after=before, key=key)

    def _published(self, config: str) -> list[str]:
        """What the key of a measurement says of the branch that the tools take, if it is the twin."""
        kind = load_config(self.root / config).model.get("type")
        twin = getattr(MODELS.get(kind), "published_branch", "") == "twin" if kind else False
        return ["twin"] if twin else []

    def _key(self, config: str, options: Sequence[str]) -> str:
        """What a training depends on: its whole config and the changes, wherever the folders are."""
        entries = _entries(self.root / config)
        folders = {str(self.data): "DATA", str(self.folder): "WORK"}
        # of two that lie in each other the inner one
        longest_first = sorted(map(re.escape, folders), key=len, reverse=True)
        whole = re.compile(f"({'|'.join(longest_first)})(?=/|$)")
        names = {re.escape(folder): name for folder, name in folders.items()}
        changes = [whole.sub(lambda m: names[re.escape(m[1])], option) for option in options]
        return hashlib.sha256(f"{entries} {changes}".encode()).hexdigest()[:16]


def _check_whole(folder: Path) -> None:
    """Refuse a run that was told to end before its end, which it does without an error.

    Raises:
        FileNotFoundError: It has no checkpoint.
        ValueError: It was.
    """
    checkpoint = newest_checkpoint(folder)
    meta = load_weights_file(checkpoint, mapped=True)["meta"]
    if meta["iter"] != meta["max_iters"]:
        raise ValueError(
            f"{checkpoint} is of iteration {meta['iter']} of {meta['max_iters']}: the training was told to "
            "end (SIGTERM). The same call takes it up again."
        )


def _read_curve(folder: Path) -> dict[str, float]:
    """k-NN accuracy in the course of a whole pretraining, by its share: `knn at 50 %`.

    Epochs would not do: methods with one view of an image have more of them, or count in windows.
    """
    _check_whole(folder)
    curve = read_log(folder).curves.get("knn/top1", [])
    if not curve or curve[-1][0] <= 0:
        return {}
    return {f"{CURVE}{100 * x / curve[-1][0]:.4g} %": y for x, y in curve}


@cache
def _entries(path: Path) -> str:
    """The entries of a config, its bases included, as text."""
    return json.dumps(load_config(path).to_dict(), default=repr, sort_keys=True)


def slug(name: str) -> str:
    """A name as a part of a file's name.

    Example:
        >>> slug("CARE, C-stream alone")
        'care-c-stream-alone'
    """
    return re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")


def figures_of(
    results: Mapping[str, Mapping[str, float]], names: Sequence[str], seeds: Sequence[int]
) -> dict[str, dict[str, list[float]]]:
    """Figures by contestant and measure, one for each seed, NaN where there is none.

    Args:
        results: `CommandQueue.current` of `Comparison.commands`.
        names: Contestants.
        seeds: In this order.
    """
    return {
        name: {
            measure: [
                results.get(f"{_COMMANDS.get(measure, measure)} {name} s{seed}", {}).get(
                    measure, math.nan
                )
                for seed in seeds
            ]
            for measure in MEASURES
        }
        for name in names
    }
