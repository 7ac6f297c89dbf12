"""CheckpointHook: writes checkpoints, keeps the newest, never without a good one on disk."""

from __future__ import annotations

import re
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook as _CheckpointHook

from mmssl.ops.atomic_file import write_text_atomically
from mmssl.registry import HOOKS

LAST = "last_checkpoint"
WRITTEN = "checkpoints_of_this_run"


@HOOKS.register_module()
class CheckpointHook(_CheckpointHook):
    """mmengine's hook, but old checkpoints go only after the new one is complete.

    mmengine deletes first and writes then, so that `max_keep_ckpts=1` and a full disk leave nothing.
    Files: `epoch_<n>.pth` at epoch ends, `iter_<n>.pth` inside an epoch; the file `last_checkpoint`
    names the newest. Both kinds resume exactly. Only files that this run wrote, before it was resumed
    or since, are ever removed: those of another run in the same directory stay.
    """

    _NAMES = re.compile(r"(epoch|iter)_(\d+)\.pth")

    @property
    def counts_epochs(self) -> tuple[str, ...]:
        """Options that count epochs."""
        return ("interval", "save_begin") if self.by_epoch else ()

    def save_now(self, runner, step: int) -> str:
        """Write a checkpoint after `step` iterations, whatever the interval.

        Returns:
            The path of the file.
        """
        name = f"iter_{step}.pth"
        self._write(runner, name, dict(epoch=runner.epoch, iter=step), by_epoch=False)
        return str(Path(self.out_dir) / name)

    def _save_checkpoint_with_step(self, runner, step, meta) -> None:
        self._write(runner, self.filename_tmpl.format(step), meta, self.by_epoch)

    def _write(self, runner, name: str, meta: dict, by_epoch: bool) -> None:
        self.last_ckpt = str(Path(self.out_dir) / name)
        # Part of the checkpoint itself, so that a resumed run knows which files are its own.
        earlier = [other for other in runner.message_hub.get_info(WRITTEN, []) if other != name]
        kept = self.max_keep_ckpts if self.max_keep_ckpts > 0 else len(earlier) + 1
        written = [*earlier, name]
        runner.message_hub.update_info(WRITTEN, written[-kept:])
        runner.message_hub.update_info("last_ckpt", self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=by_epoch,
            backend_args=self.backend_args,
        )
        if is_main_process():
            write_text_atomically(Path(runner.work_dir) / LAST, self.last_ckpt)
            for old in written[:-kept]:
                (Path(self.out_dir) / old).unlink(missing_ok=True)


def latest_checkpoint(work_dir: str | Path) -> Path | None:
    """The newest complete checkpoint of a work directory, `None` if it has none.

    Trusts `last_checkpoint` when the file it names exists (beside it, for the directory may be a copy or have
    been moved, or in its place), else takes the youngest `epoch_*.pth` or `iter_*.pth`.
    """
    folder = Path(work_dir)
    pointer = folder / LAST
    if pointer.is_file() and (text := pointer.read_text().strip()):
        for path in (folder / Path(text).name, Path(text)):
            if path.is_file():
                return path
    if not folder.is_dir():
        return None
    files = [path for path in folder.iterdir() if CheckpointHook._NAMES.fullmatch(path.name)]
    return max(files, key=lambda path: path.stat().st_mtime_ns, default=None)
