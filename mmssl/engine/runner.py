"""Runner: mmengine's, with safe and atomic checkpoints, exact resume, and CPU in every mode."""

from __future__ import annotations

import os
from datetime import timedelta
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.dist import is_main_process
from mmengine.model import convert_sync_batchnorm, revert_sync_batchnorm
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import BaseLoop
from mmengine.runner import Runner as _Runner
from mmengine.runner.checkpoint import _load_checkpoint_to_model as load_checkpoint_to_model
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader

from mmssl.convert.checkpoint_file import load_weights_file
from mmssl.engine.activation_checkpointing import checkpoint_activations
from mmssl.engine.collected_shards import collected_shards
from mmssl.engine.hooks.checkpoint_hook import latest_checkpoint
from mmssl.engine.hooks.preemption_hook import PreemptionHook
from mmssl.engine.hooks.report_hook import ReportHook
from mmssl.engine.hooks.resume_state_hook import (
    ResumeStateHook,
    order_settings,
    pending_gradients,
)
from mmssl.engine.loops import EpochLoop, WindowLoop
from mmssl.engine.worker_start import start_worker
from mmssl.models.algorithms.base import BaseAlgorithm, bare_model
from mmssl.models.layers import make_norms_local, synchronise_norms
from mmssl.ops.small_map_conv import MAX_POSITIONS, use_small_map_conv
from mmssl.registry import RUNNERS

PARTIAL = ".partial"
# mmengine's own default hooks: for other names it does not take None
_MMENGINE_HOOKS = (
    "runtime_info", "timer", "sampler_seed", "logger", "param_scheduler", "checkpoint",
)  # fmt: skip


def _accumulated(optim_wrapper: OptimWrapper) -> int:
    """Batches that an optimizer step takes."""
    return getattr(optim_wrapper, "_accumulative_counts", 1)


@RUNNERS.register_module()
class Runner(_Runner):
    """The runner of `tools/train.py`, for pretraining and for the transfer configs of mmdet and mmseg.

    Beyond mmengine's:

    * checkpoints are written beside their final name, flushed to disk, then renamed;
    * they hold tensors and plain containers, and are read with `weights_only=True`
      (`trust_pickle = True` in the config allows others);
    * a resumed run fails unless every tensor of the model arrived, and fits the data loader;
    * distributed training works without GPUs (gloo);
    * `compile = dict(modules=['backbone'])` compiles sub-modules in place, so names stay as they are;
    * on a CPU denormal numbers are flushed to zero: they slow training down several times.
    """

    pending_gradients: dict[str, torch.Tensor]

    def setup_env(self, env_cfg: dict) -> None:
        """mmengine's, after the process group of a run without GPUs and the handling of denormals."""
        self._flushes_denormals = not torch.cuda.is_available() and torch.set_flush_denormal(True)
        if self.distributed and not dist.is_initialized() and not torch.cuda.is_available():
            timeout = timedelta(seconds=env_cfg.get("dist_cfg", {}).get("timeout", 1800))
            dist.init_process_group("gloo", timeout=timeout)
        if self.cfg.get("randomness", {}).get("deterministic"):
            # cuBLAS reads it with its first product, and torch refuses to go on without
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        super().setup_env(env_cfg)

    def register_hooks(self, default_hooks=None, custom_hooks=None) -> None:
        """The hooks of the config, and what exact resume needs; a default hook that is None is left out."""
        hooks = {
            name: hook
            for name, hook in (default_hooks or {}).items()
            if hook is not None or name in _MMENGINE_HOOKS
        }
        super().register_hooks(hooks, custom_hooks)
        self.register_hook(ResumeStateHook())
        if self._flushes_denormals:
            self.logger.info("Denormal numbers are flushed to zero (CPU training).")

    def wrap_model(self, model_wrapper_cfg, model):
        """mmengine's; weights as images lie; without GPUs local BatchNorm and faster small maps."""
        layout = getattr(getattr(model, "data_preprocessor", None), "memory_format", None)
        if layout is torch.channels_last:
            model.to(memory_format=layout)  # else convolutions convert them at every call
        if not torch.cuda.is_available():
            number = use_small_map_conv(model)
            if number and layout is torch.channels_last:
                self.logger.info(
                    f"On maps of up to {MAX_POSITIONS} positions {number} convolutions are matrix products "
                    "(CPU, channels last)."
                )
        sync_bn = self.cfg.pop(
            "sync_bn", None
        )  # mmengine's way fails for a BatchNorm without shift
        model = self._with_norms(model, sync_bn)
        model._ddp_params_and_buffers_to_ignore = _memories(model)
        if self.distributed and not torch.cuda.is_available():
            default = dict(
                type="MMDistributedDataParallel",
                broadcast_buffers=False,
                find_unused_parameters=self.cfg.get("find_unused_parameters", False),
            )
            # of the config or not: mmengine would name a GPU
            model_wrapper_cfg = dict(model_wrapper_cfg or default, device_ids=None)
        wrapped = super().wrap_model(model_wrapper_cfg, model)
        if sync_bn is not None:
            self.cfg.sync_bn = sync_bn
        return wrapped

    def _with_norms(self, model: torch.nn.Module, sync_bn: str | None) -> torch.nn.Module:
        """The model whose BatchNorm is local or of all processes, as the device and `sync_bn` say."""
        if sync_bn not in (None, "torch", "mmcv"):
            raise ValueError(f"sync_bn must be 'torch' or 'mmcv', got {sync_bn!r}.")
        if self.distributed and torch.cuda.is_available():
            if sync_bn == "mmcv":
                return convert_sync_batchnorm(model, sync_bn)
            if sync_bn == "torch":
                synchronise_norms(model)
            return model
        changed = make_norms_local(model)
        if self.distributed and (changed or sync_bn):
            self.logger.warning(
                "torch synchronises BatchNorm on GPUs only: SyncBN became BatchNorm with the "
                "statistics of each process."
            )
        return revert_sync_batchnorm(model)  # mmcv's layers

    def build_optim_wrapper(self, optim_wrapper):
        """mmengine's; says what accumulation is not equal to a larger batch in."""
        wrapper = super().build_optim_wrapper(optim_wrapper)
        batches = _accumulated(wrapper)
        if batches == 1:
            return wrapper
        model = self._bare_model
        if getattr(model, "negatives_in_batch", False):
            self.logger.warning(
                f"{type(model).__name__} takes its negatives from one forward pass: accumulating "
                f"{batches} batches averages their gradients, but adds no negatives. For as many as the "
                "recipe has, use its batch size over more GPUs."
            )
        was_training = model.training
        model.train()  # what is frozen, or averaged, stays in eval mode
        norms = sum(isinstance(part, _BatchNorm) and part.training for part in model.modules())
        model.train(was_training)
        if norms:
            self.logger.warning(
                f"The statistics of {norms} BatchNorm layers are those of one forward pass, not of the "
                f"{batches} that a step consists of."
            )
        return wrapper

    def scale_lr(self, optim_wrapper, auto_scale_lr=None) -> None:
        """Scale learning rates with the images of a step: linearly, or with the root (`rule='sqrt'`).

        mmengine's does not count accumulated batches.

        Raises:
            ValueError: Another rule, or no batch size to start from.
        """
        options = dict(auto_scale_lr or {})
        rule = options.get("rule", "linear")
        if rule not in ("linear", "sqrt"):
            raise ValueError(f"auto_scale_lr.rule must be 'linear' or 'sqrt', got {rule!r}.")
        if not options.get("enable"):
            return
        if "base_batch_size" not in options:
            raise ValueError(
                "auto_scale_lr needs base_batch_size, the images of a step that lr is for."
            )
        base, accumulated = options["base_batch_size"], _accumulated(optim_wrapper)
        # a loader with batches of its own (AspectRatioBatchSampler) does not tell their size
        loader = self._train_dataloader
        images = loader.batch_size if isinstance(loader, DataLoader) else loader["batch_size"]
        if images is None:
            images = loader.batch_sampler.batch_size
        batch = self.world_size * images * accumulated
        factor = batch / base if rule == "linear" else (batch / base) ** 0.5
        wrappers = (
            optim_wrapper.values()
            if isinstance(optim_wrapper, OptimWrapperDict)
            else [optim_wrapper]
        )
        groups = [group for wrapper in wrappers for group in wrapper.optimizer.param_groups]
        before = sorted({group["lr"] for group in groups})
        for group in groups:
            group["lr"] *= factor
        rates = ", ".join(f"{rate:.6g} -> {rate * factor:.6g}" for rate in before)
        self.logger.info(
            f"Learning rates are for steps of {base} images, these are of {batch} ({self.world_size} "
            f"processes x {images} images x {accumulated} accumulated batches): "
            f"multiplied by {factor:.6g}, {rule} rule, {rates}."
        )

    def _build_param_scheduler(self, scheduler, optim_wrapper):
        """mmengine's; for a loop that walks in windows, epochs become windows."""
        if isinstance(self._train_loop, WindowLoop):
            scheduler = self._train_loop.in_windows(scheduler)
        return super()._build_param_scheduler(scheduler, optim_wrapper)

    @staticmethod
    def build_dataloader(dataloader, seed=None, diff_rank_seed=False):
        """mmengine's; options that only make sense with workers are dropped when there are none.

        Workers outlive a SIGTERM for a while; see `start_worker`.
        """
        if isinstance(dataloader, dict) and dataloader.get("num_workers") == 0:
            only_workers = ("persistent_workers", "prefetch_factor")
            dataloader = {k: v for k, v in dataloader.items() if k not in only_workers}
        if isinstance(dataloader, dict) and torch.cuda.is_available():
            collate = dataloader.get("collate_fn") or {}
            if isinstance(collate, dict) and collate.get("type") == "default_collate":
                dataloader = {"pin_memory": True, **dataloader}  # copied beside the step
        loader = _Runner.build_dataloader(dataloader, seed, diff_rank_seed)
        loader.worker_init_fn = partial(start_worker, loader.worker_init_fn)
        return loader

    @property
    def _bare_model(self) -> torch.nn.Module:
        return bare_model(self.model)

    def save_checkpoint(self, out_dir: str, filename: str, *args, **kwargs) -> None:
        """Write a checkpoint atomically: a kill or a full disk leaves the files there were."""
        self.pending_gradients = pending_gradients(
            self._bare_model, self.optim_wrapper.should_update()
        )
        with collected_shards(self._bare_model, out_dir):
            super().save_checkpoint(out_dir, filename + PARTIAL, *args, **kwargs)
        self.pending_gradients = {}
        if is_main_process():
            partial = Path(out_dir) / (filename + PARTIAL)
            with open(partial, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(partial, partial.with_name(filename))

    def train(self):
        """Train; modules of `activation_checkpointing` are recomputed our way, not mmengine's.

        Whatever ends the run early is named in its report and raised.
        """
        names = self.cfg.pop("activation_checkpointing", None)
        if names:
            checkpoint_activations(self._bare_model, names)
            self.logger.info(f"Activations are recomputed in {', '.join(names)}.")
        try:
            return super().train()
        except BaseException as error:
            for hook in self._hooks:
                if isinstance(hook, ReportHook):
                    hook.after_interruption(self, error)
                elif isinstance(hook, PreemptionHook):
                    hook.after_run(self)
            raise
        finally:
            self._end_workers()

    def _end_workers(self) -> None:
        """Let the workers of all loaders go; at its exit the interpreter would send them SIGTERM."""
        for loop in (self._train_loop, self._val_loop, self._test_loop):
            if not isinstance(loop, BaseLoop):
                continue
            for holder in (loop.dataloader, getattr(loop, "dataloader_iterator", None)):
                iterator = getattr(holder, "_iterator", None)
                if hasattr(iterator, "_shutdown_workers"):
                    iterator._shutdown_workers()
            loop.dataloader._iterator = None

    def load_or_resume(self) -> None:
        """Resume the newest checkpoint of the work directory or a given one, or load weights."""
        if self._resume and self._load_from is None and not self._has_loaded:
            self._load_from = latest_checkpoint(self.work_dir)
            if self._load_from is None:
                self.logger.info(
                    f"No checkpoint in {self.work_dir}: training starts at iteration 0."
                )
                self._resume = False
            else:
                self.logger.info(f"Resuming {self._load_from}.")
        super().load_or_resume()

    def load_checkpoint(
        self, filename, map_location="cpu", strict=False, revise_keys=((r"^module\.", ""),)
    ):
        """Read a checkpoint safely into the model.

        Resuming, and into an algorithm of ours, it must fit completely (weights of a backbone alone
        belong into `model.backbone.init_cfg`); detectors and segmentors load as in their family.

        Returns:
            The content of the file.

        Raises:
            RuntimeError: A tensor is missing, left over or of another shape.
            ValueError: A file of another layout; resuming a pretraining run of another length, inside an
                epoch whose length has changed, or with images in another order.
        """
        trusted = self.cfg.get("trust_pickle", False)
        checkpoint = load_weights_file(filename, trust_pickle=trusted, mapped=True)
        if self._resume:
            self._check_resumable(checkpoint, filename)
        state = checkpoint.get("state_dict", checkpoint)
        if isinstance(self._bare_model, BaseAlgorithm) and not (
            {key.removeprefix("module.") for key in state} & self._bare_model.state_dict().keys()
        ):
            raise ValueError(
                f"{filename} holds no tensor of a {type(self._bare_model).__name__} under its name. "
                "Whole models in the layout of their authors are converted by "
                "tools/convert_checkpoint.py; a backbone alone goes into model.init_cfg as "
                "dict(type='PretrainedBackbone', checkpoint=...)."
            )
        self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        strict = strict or self._resume or isinstance(self._bare_model, BaseAlgorithm)
        load_checkpoint_to_model(self._bare_model, checkpoint, strict, revise_keys=revise_keys)
        self._has_loaded = True
        self.logger.info(f"Loaded {filename}.")
        return checkpoint

    def _check_resumable(self, checkpoint: dict, filename) -> None:
        absent = {"meta", "state_dict", "optimizer", "message_hub"} - set(checkpoint)
        if absent:
            raise ValueError(
                f"{filename} holds no {', '.join(sorted(absent))}: it is no checkpoint of a training "
                "run. To start a new run from its weights use load_from instead of --resume."
            )
        meta, here = checkpoint["meta"], len(self.train_dataloader)
        there = meta.get("iters_per_epoch", here)
        if there != here and isinstance(self.train_loop, EpochLoop):
            raise ValueError(
                f"{filename} comes from a run of {there} iterations per epoch, this one has {here}: "
                "the batch size, the number of processes or the images have changed. Resume with "
                "the same, or start a new run from the weights with load_from."
            )
        before, now = meta.get("sampler"), order_settings(self.train_dataloader)
        if before is not None and now is not None and before != now:
            changed = [
                f"{name}={before.get(name)} (now {now[name]})"
                for name in now
                if before.get(name) != now[name]
            ]
            raise ValueError(
                f"{filename} comes from a run whose images had another order: {', '.join(changed)}. "
                "Resume with the same, or start a new run from the weights with load_from."
            )
        whole = meta.get("max_iters", self.max_iters)
        if whole != self.max_iters:
            message = (
                f"{filename} comes from a run of {whole} iterations, this one has {self.max_iters}. "
                "Learning rate and momentum follow the length of the run that began: "
            )
            if isinstance(self._bare_model, BaseAlgorithm):
                raise ValueError(
                    message
                    + "resume with the same length, or start a new run from the weights with "
                    "load_from."
                )
            self.logger.warning(message + "they go on as they were planned then.")

    def _maybe_compile(self, target: str) -> None:
        """Compile the sub-modules that `cfg.compile` names, in place."""
        options = self.cfg.get("compile")
        if not isinstance(options, dict) or "modules" not in options:
            super()._maybe_compile(target)
            return
        options = dict(options)
        if isinstance(self._bare_model, BaseAlgorithm):
            options.setdefault("dynamic", False)  # views have a few sizes, each worth a graph
        for name in options.pop("modules"):
            module = self._bare_model.get_submodule(name)
            module.compile(**options)
            if hasattr(module, "view_and_map"):  # the way in of backbones with a class token
                vars(module)["view_and_map"] = torch.compile(module.view_and_map, **options)
            self.logger.info(f"Compiled {name}; its first iterations are slow.")


def _memories(model: torch.nn.Module) -> list[str]:
    """Buffers that every rank makes from the same gathered data (queues, banks), or that are its own shard.

    With `broadcast_buffers=True` DDP would send them at every step, hundreds of megabytes for prototypes of
    many images; they are equal since the runner's own broadcast after the initialisation. A shard that was
    overwritten with that of rank 0 would be lost.
    """
    return [
        f"{name}.{key}" if name else key
        for name, module in model.named_modules()
        if getattr(module, "same_on_all_ranks", False) or getattr(module, "is_shard", False)
        for key, _ in module.named_buffers()
    ]
