"""ReportHook: writes `run_card.json` and `report.html` of every run."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.hooks import Hook
from mmengine.optim import AmpOptimWrapper

from mmssl.datasets.decode import UnreadableImageError
from mmssl.datasets.image_dataset import ImageDataset
from mmssl.engine.hooks.collapse_hook import CollapseHook
from mmssl.engine.hooks.data_time_hook import DataTimeHook
from mmssl.engine.hooks.preemption_hook import Preempted
from mmssl.engine.optimizers.optim_wrapper import BFloat16OptimWrapper
from mmssl.evaluation.collapse_doctor import CAUSES
from mmssl.models.algorithms.base import BaseAlgorithm, bare_model
from mmssl.ops.collectives import rank
from mmssl.registry import HOOKS
from mmssl.visualization.attention_maps import attention_sheet, central_crop, energy_of
from mmssl.visualization.run_card import checkpoint_rows, environment, read_card, write_card
from mmssl.visualization.run_report import PICTURES, write_run_report
from mmssl.visualization.view_sheet import SheetRow, view_sheet

# Enough to see what the augmentations do; the page stays small.
VIEW_ROWS = 4


@HOOKS.register_module()
class ReportHook(Hook):
    """Keep a run's card and its report up to date.

    before_train        start or continue the card; draw views; attention maps of the untrained network
    after_train_epoch   card and report, at most every `min_seconds`
    after_train         attention maps of the trained network, digests of the checkpoints, report
    after_interruption  called by the runner on SIGTERM, Ctrl-C or an error: the report says so

    The report is made from files, so `tools/report.py WORK_DIR` makes it again at any time. Pictures
    need an mmssl algorithm and an mmssl dataset; without them the report has none. A report that
    cannot be written is a logged error and no end of the run.

    Args:
        min_seconds: Shortest time between two reports while training.
        num_images: Images of the pictures, spread over the training set; 0 for no pictures.
        image_size: Side of the images that attention maps are made of, in pixels.
    """

    # Behind CheckpointHook, whose files it lists.
    priority = "LOWEST"

    def __init__(
        self, min_seconds: float = 60.0, num_images: int = 6, image_size: int = 224
    ) -> None:
        self.min_seconds = min_seconds
        self.num_images = num_images
        self.image_size = image_size
        self._written = 0.0
        self._card: dict[str, Any] = {}
        self._earlier_alarms: list[dict[str, Any]] = []

    def before_train(self, runner) -> None:
        """Open a session in the card and draw what the untrained network sees."""
        if rank() == 0:
            self._guard(runner, self._begin)

    def after_train_epoch(self, runner) -> None:
        """Report on the epochs so far, unless that was done a moment ago."""
        if rank() == 0 and time.monotonic() - self._written >= self.min_seconds:
            self._guard(runner, self._write, runner.epoch + 1, "running")

    def after_train(self, runner) -> None:
        """The final report."""
        if rank() == 0:
            self._guard(runner, self._finish)

    def after_interruption(self, runner, error: BaseException) -> None:
        """Say in the report what ended the run early: SIGTERM, Ctrl-C or an error."""
        if rank() != 0 or not self._card:
            return
        reason = "SIGTERM" if isinstance(error, Preempted) else type(error).__name__
        message = "" if isinstance(error, SystemExit) else str(error).partition("\n")[0]
        self._card["ended_by"] = f"{reason}: {message}" if message else reason
        self._guard(runner, self._write, runner.epoch, "interrupted")

    def _guard(self, runner, action, *args) -> None:
        try:
            action(runner, *args)
        except Exception:  # days of training are worth more than their report
            runner.logger.exception("The run's report could not be written; training goes on.")
        self._written = time.monotonic()

    def _begin(self, runner) -> None:
        previous = read_card(runner.work_dir) if runner.iter > 0 else {}
        started = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
        session = dict(started=started, first_iter=runner.iter, seconds={})
        self._card = dict(
            name=Path(runner.work_dir).name,
            method=type(bare_model(runner.model)).__name__,
            sessions=[*previous.get("sessions", []), session],
            settings=_settings(runner),
            environment=environment(),
            checkpoints=previous.get("checkpoints", []),
        )
        self._earlier_alarms = previous.get("alarms", [])
        dataset, model = runner.train_dataloader.dataset, bare_model(runner.model)
        if self.num_images and isinstance(dataset, ImageDataset):
            folder = Path(runner.work_dir) / PICTURES
            folder.mkdir(parents=True, exist_ok=True)
            if dataset.views is not None:
                rows = [SheetRow(dataset.path(i), i) for i in self._indices(dataset)[:VIEW_ROWS]]
                sheet = view_sheet(rows, dataset.views, seed=runner.seed or 0, epoch=runner.epoch)
                sheet.save(folder / "views.png")
            if isinstance(model, BaseAlgorithm) and runner.iter == 0:
                images = self._images(dataset)
                np.savez_compressed(
                    folder / "before.npz",
                    images=np.stack(images),
                    maps=energy_of(model, images).numpy(),
                )
        self._write(runner, runner.epoch, "running")

    def _finish(self, runner) -> None:
        before = Path(runner.work_dir) / PICTURES / "before.npz"
        if before.is_file():
            with np.load(before) as file:
                images, maps = list(file["images"]), file["maps"]
            after = energy_of(bare_model(runner.model), images)
            rows = {"before training": maps, "after training": after}
            attention_sheet(images, rows).save(before.with_name("attention.png"))
        self._card["checkpoints"] = checkpoint_rows(runner.work_dir, self._card["checkpoints"])
        done = runner.iter >= runner.max_iters
        self._write(runner, runner.epoch, "finished" if done else "stopped")

    def _write(self, runner, epoch: int, state: str) -> None:
        session = self._card["sessions"][-1]
        clock = next((hook for hook in runner.hooks if isinstance(hook, DataTimeHook)), None)
        if clock is not None:
            session["seconds"] = clock.seconds_so_far()
            self._card["data_wait"] = clock.data_wait
            step_seconds = sum(clock.seconds.get(name, 0.0) for name in ("step", "data"))
            if step_seconds:
                seen = (runner.iter - session["first_iter"]) * self._card["settings"][
                    "images per step"
                ]
                self._card["images_per_second"] = seen / step_seconds
        self._card |= self._alarms(runner)
        self._card |= dict(
            state=state,
            by_epoch=hasattr(runner.train_loop, "run_epoch"),
            epochs_are=getattr(runner.train_loop, "epochs_are", "epochs"),
            epoch=epoch,
            max_epochs=runner.max_epochs,
            iter=runner.iter,
            max_iters=runner.max_iters,
            iters_per_epoch=len(runner.train_dataloader),
        )
        write_card(runner.work_dir, self._card)
        path = write_run_report(runner.work_dir)
        if state != "running":
            runner.logger.info(f"Report of this run: {path}")

    def _alarms(self, runner) -> dict[str, Any]:
        doctor = next((hook for hook in runner.hooks if isinstance(hook, CollapseHook)), None)
        if doctor is None or not isinstance(bare_model(runner.model), BaseAlgorithm):
            return dict(alarms=self._earlier_alarms)
        alarms = [
            dict(
                since=fault.since,
                fault=f"{fault.name} ({fault.where})",
                detail=f"{fault.detail}. Usual cause: {CAUSES[fault.name]}.",
            )
            for fault in doctor.faults
        ]
        watched = f"embeddings, losses and twins every {doctor.interval} iterations"
        return dict(alarms=[*self._earlier_alarms, *alarms], watched=watched)

    def _indices(self, dataset: ImageDataset) -> list[int]:
        count = min(self.num_images, len(dataset))
        return [index * len(dataset) // count for index in range(count)]

    def _images(self, dataset: ImageDataset) -> list[np.ndarray]:
        images = []
        for index in self._indices(dataset):
            try:
                picture = dataset.image(index, "pil")
            except UnreadableImageError:
                continue
            images.append(np.asarray(central_crop(picture, self.image_size)))
        return images


def _precision(optimizer) -> str:
    if isinstance(optimizer, BFloat16OptimWrapper):
        return "mixed, bfloat16"
    if not isinstance(optimizer, AmpOptimWrapper):
        return "float32"
    return f"mixed, {optimizer.cast_dtype or 'float16'}".replace("torch.", "")


def _settings(runner) -> dict[str, Any]:
    """What tells two runs of the same config apart, in words."""
    loader = runner.train_dataloader
    dataset = loader.dataset
    batch = loader.batch_size or 1
    optimizer = runner.optim_wrapper
    return {
        "seed": runner.seed,
        "deterministic": runner.deterministic,
        "batch per process": batch,
        "processes": runner.world_size,
        "images per step": batch * runner.world_size,
        "loader workers": loader.num_workers,
        "dataset": f"{type(dataset).__name__} {getattr(dataset, 'root', '')}, {len(dataset)} images",
        "optimizer": type(getattr(optimizer, "optimizer", optimizer)).__name__,
        "precision": _precision(optimizer),
        **_weights(runner),
    }


def _weights(runner) -> dict[str, str]:
    """What the run starts from: a whole model, or a pretrained backbone."""
    record = getattr(getattr(bare_model(runner.model), "backbone", None), "weights_record", None)
    if runner._load_from or record is None:
        return {"weights loaded from": str(runner._load_from or "none")}
    return {
        "weights loaded from": record["checkpoint"],
        "weights, branch": record["branch"],
        "weights, SHA-256 of the file": record["sha256"],
    }
