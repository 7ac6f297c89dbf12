"""InstanceRows: the class weights of a very large classifier of which a step touches a few.

Parametric Instance Classification for Unsupervised Visual Feature Learning (PIC), 2020, arXiv 2006.14618,
"recent negative sampling" and "classification weight update correction". The released code has neither; both
are built so that every number equals that of SGD over all rows with a softmax over the sampled ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from mmssl.ops.collectives import gather_cat, gather_objects, rank, reduce_mean, world_size
from mmssl.ops.idle_sgd import moved
from mmssl.ops.instance_index import check_instances
from mmssl.ops.progress_bar import progress_bar

from .idle_cohorts import CORRECTIONS, Correction, IdleCohorts
from .member_change import member_change
from .recent_instances import RecentInstances
from .row_store import ACTIVE, MANY, RowStore
from .shard_state import gathered, merged_shards, misfit


class InstanceRows(nn.Module):
    """Rows w, their momenta u and what each of them is owed: the only place that writes them.

    for each forward    `begin(index)`: C = the recent list and the batch; rows that enter C catch up,
                        rows that are in C no more become idle; a leaf tensor with C's weights
    backward            the leaf gets the gradient
    optimizer step      `step(lr, ...)`: SGD on C, one more step owed to all others, the batch becomes recent
    no step             `keep_gradient()` (accumulation: C grows by the next batch, nothing leaves), or
                        `discard()` (a batch that was dropped: as if it had never come)

    The rows are neither parameters nor buffers that DDP knows. `state_dict` has them with all that an exact
    continuation needs; rows of several shards are in it inside of `collect` and `release` only, in their
    global order, so that a checkpoint fits any number of ranks.

    Args:
        num_rows: N.
        dim: D.
        num_negatives: K, length of the recent list; `None`: C is everything.
        init_recent: `none`, or `all`: the list starts with all instances.
        correction: See `IdleCohorts`.
        shard: Row i belongs to rank i mod G. Else every rank has all rows, and gradients are averaged.
        storage: `device` or `host`, where rows outside of C lie; see `RowStore`.
        folder: For files, with `host`.
        init_std: Rows start from N(0, init_std), momenta from 0. The draw does not depend on the ranks.

    Attributes:
        members: (C,) int64 own rows in C, ascending (row number i // G of a shard).
        weight: (C, D) w of C.
        momentum: (C, D) u of C.
        gradient: (C, D) of batches that wait for a step, else (0, D).
        batch: (B,) int64 instances of those batches.
        num_steps: Finished optimizer steps.
        settings: Learning rate, momentum and weight decay of the last of them.
        may_be_absent: A state dict without any of this is accepted: the rows stay as they are.

    Raises:
        ValueError: Options that do not fit together.
    """

    is_shard: ClassVar[bool] = True
    members: Tensor
    weight: Tensor
    momentum: Tensor
    gradient: Tensor
    batch: Tensor

    def __init__(
        self,
        num_rows: int,
        dim: int,
        *,
        num_negatives: int | None,
        init_recent: Literal["none", "all"] = "none",
        correction: Correction = "exact",
        shard: bool = False,
        storage: Literal["device", "host"] = "device",
        folder: str | Path | None = None,
        init_std: float = 0.01,
    ) -> None:
        super().__init__()
        if init_recent not in ("none", "all"):
            raise ValueError(f"init_recent must be 'none' or 'all', got {init_recent!r}.")
        self.num_rows, self.shard = num_rows, shard
        self.num_shards, self.place = (world_size(), rank()) if shard else (1, 0)
        self.recent: RecentInstances | None = None
        if num_negatives is not None:
            self.recent = RecentInstances(num_negatives, num_rows, everything=init_recent == "all")
        own = len(range(self.place, num_rows, self.num_shards))
        self.store = RowStore(own, dim, storage=storage, folder=folder)
        self.cohorts = IdleCohorts(own, correction)
        self.store.draw(init_std, num_rows, place=self.place, num_shards=self.num_shards)
        self.num_steps = 0
        self.settings = (0.0, 0.0, 0.0)
        for name in ("weight", "momentum", "gradient"):
            self.register_buffer(name, torch.zeros(0, dim), persistent=False)
        for name in ("members", "batch"):
            self.register_buffer(name, torch.zeros(0, dtype=torch.long), persistent=False)
        self._leaf: Tensor | None = None
        self._collected: dict[str, Tensor] | None = None
        self.may_be_absent = False

    def extra_repr(self) -> str:
        """Sizes, for `print`."""
        dim = self.weight.shape[1]
        return f"num_rows={self.num_rows}, dim={dim}, own={len(self.store)}, shard={self.shard}"

    # ---- a step

    @torch.no_grad()
    def begin(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Prepare C for a batch; the backward pass of the last one has to be over.

        Args:
            index: (b,) int64 instances of this rank's images, as many on every rank.

        Returns:
            A leaf (C, D) with the weights of C that takes their gradient, and the places (b,) in it of the
            batch. Of a shard the places (G * b,) of the instances of all ranks, in rank order; -1 for rows of
            other shards.

        Raises:
            ValueError: An instance outside 0..N-1.
        """
        everyone = gather_cat(index)
        check_instances(everyone, self.num_rows)
        self.keep_gradient()
        self._change(self._wanted(everyone))
        if self.training:
            self.batch = torch.cat([self.batch, everyone])
        self._leaf = self.weight.detach().requires_grad_()
        return self._leaf, self._places(everyone if self.shard else index)

    def _wanted(self, everyone: Tensor) -> Tensor:
        """(C,) own rows that the step needs, ascending."""
        if self.recent is None:
            return torch.arange(len(self.store), device=everyone.device)
        instances = torch.cat([self.recent.index, self.batch, everyone])
        is_own = (instances >= 0) & (instances % self.num_shards == self.place)
        return instances[is_own].unique() // self.num_shards

    def _places(self, instances: Tensor) -> Tensor:
        place = torch.searchsorted(self.members, instances // self.num_shards)
        return torch.where(instances % self.num_shards == self.place, place, -1)

    def _change(self, wanted: Tensor) -> None:
        """Make `wanted` the members."""
        if len(wanted) == len(self.members) == len(self.store):  # everything, as before
            return
        change = member_change(self.members, wanted)
        if not len(change.leave) + len(change.enter):
            return
        self._retire(change.leave)
        weight, momentum = self._enter(wanted[change.enter])
        if not len(self.members) and len(wanted) == len(self.store):
            self._take_everything(weight, momentum)
            return
        for name, fresh in (("weight", weight), ("momentum", momentum), ("gradient", None)):
            before = getattr(self, name)
            if fresh is None and not len(before):  # no gradient waits
                continue
            after = before.new_zeros(len(wanted), before.shape[1])
            after[change.kept] = before[change.stay]
            if fresh is not None:
                after[change.enter] = fresh
            setattr(self, name, after)
        self.members = wanted

    def _take_everything(self, weight: Tensor, momentum: Tensor) -> None:
        """All rows are in C, which then is the store itself: they are not held twice."""
        self.members = torch.arange(len(self.store), device=self.members.device)
        if self.store.storage == "host":
            self.weight, self.momentum = weight, momentum
            return
        self.store.write(self.members, weight, momentum)
        self.weight, self.momentum = self.store.weight, self.store.momentum

    def _retire(self, leaving: Tensor) -> None:
        """Write members back, of which these are the places (m,); they are idle from now on."""
        rows = self.members[leaving]
        self.store.write(rows, self.weight[leaving], self.momentum[leaving])
        self.store.mark(rows, self.num_steps)
        self.cohorts.join(self.num_steps, len(rows))

    def _enter(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Weights and momenta of idle rows (m,), brought up to date."""
        weight, momentum, cohort = self.store.read(rows)
        if self.cohorts.correction != "none":
            operators = self.cohorts.owed(cohort, self.num_steps, self.settings)
            weight, momentum = moved(operators.to(weight.device), weight, momentum)
        self.cohorts.leave(cohort)
        self.store.mark(rows, ACTIVE)
        return weight, momentum

    @torch.no_grad()
    def keep_gradient(self) -> None:
        """Add the gradient of the last backward pass to the one that waits for a step."""
        if self._leaf is None or self._leaf.grad is None:
            return  # its backward pass may be still to come
        waits = len(self.gradient) == len(self._leaf) and len(self._leaf) > 0
        self.gradient = self.gradient + self._leaf.grad if waits else self._leaf.grad
        self._leaf = None

    def discard(self) -> None:
        """Forget the batches that wait for a step: it was skipped."""
        self._leaf = None
        self.gradient, self.batch = self.gradient[:0], self.batch[:0]

    @torch.no_grad()
    def step(
        self, lr: float, *, momentum: float, weight_decay: float, loss_scale: float = 1.0
    ) -> None:
        """The step of SGD that the optimizer has just made on the network.

            u <- m u + g + l w,   w <- w - e u      for C; all others owe a step with g = 0

        Args:
            lr: e.
            momentum: m.
            weight_decay: l.
            loss_scale: What the loss was multiplied with (float16): the gradient is divided by it.
        """
        self.keep_gradient()
        update = self.gradient
        if len(update) != len(self.weight):
            update = torch.zeros_like(self.weight)
        if not self.shard:
            update = reduce_mean(update)
        if loss_scale != 1:
            update = update / loss_scale
        update = update.add(self.weight, alpha=weight_decay)
        self.momentum.mul_(momentum).add_(update)
        self.weight.sub_(self.momentum, alpha=lr)
        self.cohorts.advance(lr, momentum=momentum, weight_decay=weight_decay)
        if self.recent is not None:
            self.recent.visit(self.batch)
        self.num_steps += 1
        self.settings = (lr, momentum, weight_decay)
        self.discard()

    @torch.no_grad()
    def restart(self) -> None:
        """Begin a new run from the weights alone: up to date, without momenta, batches or recent instances.

        Of rows that never took a step nothing changes.
        """
        self.discard()
        if not self.num_steps and not len(self.members):
            return
        self._change(self.members[:0])
        self.flush()
        self.store.momentum.zero_()
        self.store.cohort.zero_()
        self.num_steps, self.settings = 0, (0.0, 0.0, 0.0)
        self.cohorts.restart(0)
        if self.recent is not None:
            self.recent.restart()

    # ---- all rows

    @torch.no_grad()
    def flush(self) -> None:
        """Bring every row up to date in the store: for exports and other tools.

        Training goes on as without, up to rounding.
        """
        self._write_back()
        if self.cohorts.correction == "none":
            return
        title = "Bringing rows up to date" * (len(self.store) > MANY)
        with progress_bar(title, total=len(self.store)) as advance:
            for rows in self.store.idle_chunks():
                weight, momentum, cohort = self.store.read(rows)
                operators = self.cohorts.owed(cohort, self.num_steps, self.settings)
                weight, momentum = moved(operators.to(weight.device), weight, momentum)
                self.store.write(rows, weight, momentum)
                self.store.mark(rows, self.num_steps)
                advance(len(rows))
        self.cohorts.restart(self.num_steps)

    def _write_back(self) -> None:
        """The store has the weights and momenta of C too."""
        if len(self.members) and self.weight.data_ptr() != self.store.weight.data_ptr():
            self.store.write(self.members, self.weight, self.momentum)

    def all_rows(self) -> tuple[Tensor, Tensor]:
        """Weights and momenta (N, D) of all shards, up to date, on the host; every rank has to call it.

        Ranks other than the first get nothing of other shards: (0, D).
        """
        self.flush()
        rows = (self.store.weight, self.store.momentum)
        weight, momentum = (gathered(own, self.num_rows, self.num_shards) for own in rows)
        return weight, momentum

    # ---- checkpoints

    def _own_state(self) -> dict[str, Tensor]:
        """Everything but the rows."""
        return dict(
            births=self.cohorts.births,
            operators=self.cohorts.operators,
            gradient=self.gradient,
            batch=self.batch,
            num_steps=torch.tensor(self.num_steps),
            correction=torch.tensor(CORRECTIONS.index(self.cohorts.correction)),
            settings=torch.tensor(self.settings, dtype=torch.float64),
        )

    @torch.no_grad()
    def collect(self, folder: str | Path | None = None) -> None:
        """Bring the shards together on rank 0, where `state_dict` has them until `release`. Collective.

        Args:
            folder: Where rank 0 may put them, if they are many; see `gathered`.
        """
        self.keep_gradient()
        if self.num_shards == 1:
            self._collected = dict(gradient=reduce_mean(self.gradient))
            return
        self._write_back()
        parts = {
            name: gathered(getattr(self.store, name), self.num_rows, self.num_shards, folder)
            for name in ("weight", "momentum", "cohort")
        }
        own: dict[str, Any] = {name: value.cpu() for name, value in self._own_state().items()}
        own["members"] = self.members.cpu() * self.num_shards + self.place
        shards = gather_objects(own)
        if rank() == 0:
            self._collected = parts | merged_shards(shards)

    def release(self) -> None:
        """Forget what `collect` brought."""
        self._collected = None

    def _save_to_state_dict(self, destination, prefix, keep_vars) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        state: dict[str, Tensor] = {}
        if self.num_shards == 1:
            self.keep_gradient()
            self._write_back()
            store = self.store
            state = dict(weight=store.weight, momentum=store.momentum, cohort=store.cohort)
            state |= self._own_state()
        state |= self._collected or {}
        for name, value in state.items():
            destination[prefix + name] = value

    def _load_from_state_dict(
        self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
    ) -> None:
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
        names = ("weight", "momentum", "cohort", *self._own_state())
        mine = {name: state_dict[prefix + name] for name in names if prefix + name in state_dict}
        known = {prefix + name for name in names}
        unexpected_keys[:] = [key for key in unexpected_keys if key not in known]
        absent = [prefix + name for name in names if name not in mine]
        if not mine and self.may_be_absent:
            return
        if absent:
            missing_keys += absent
            return
        shape = (self.num_rows, self.weight.shape[1])
        wrong = misfit(mine, shape, self.cohorts.correction, prefix)
        if wrong:
            error_msgs.append(wrong)
            return
        self._take(mine)

    @torch.no_grad()
    def _take(self, state: dict[str, Tensor]) -> None:
        """Continue from a complete state of all shards."""
        own = slice(self.place, None, self.num_shards)
        for name in ("weight", "momentum", "cohort"):
            getattr(self.store, name).copy_(state[name][own])
        cohort, device = self.store.cohort, self.weight.device
        self.cohorts.load(state["births"], state["operators"], cohort[cohort != ACTIVE].long())
        self.members = self.store.active().to(device)
        weight, momentum, _ = self.store.read(self.members)
        if len(self.members) == len(self.store):
            self._take_everything(weight, momentum)
        else:
            self.weight, self.momentum = weight, momentum
        self.num_steps = int(state["num_steps"])
        lr, momentum, weight_decay = state["settings"].tolist()
        self.settings = (lr, momentum, weight_decay)
        self.discard()
        self.batch = state["batch"].to(device, copy=True)
        if len(state["gradient"]):
            everyone = (state["cohort"] == ACTIVE).nonzero().flatten()
            held = state["gradient"][everyone % self.num_shards == self.place]
            self.gradient = held.to(self.weight, copy=True)
