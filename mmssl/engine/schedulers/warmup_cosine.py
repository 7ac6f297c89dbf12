"""WarmupCosineLR: linear warm-up and half a cosine in one schedule, per iteration."""

from __future__ import annotations

import math
import warnings

from mmengine.optim.scheduler.param_scheduler import INF
from torch.optim import Optimizer

from mmssl.engine.schedulers.epoch_lengths import EpochLengths
from mmssl.registry import PARAM_SCHEDULERS


def warmup_cosine(
    step: int,
    *,
    peak: float,
    start: float,
    end: float,
    warmup: int,
    total: int,
    peak_twice: bool = False,
    cosine_from_start: bool = False,
) -> float:
    """Learning rate of the optimizer step that follows `step` finished ones.

        step <= warmup: start + (peak - start) * step / warmup
        step >  warmup: end + (peak - end) * (1 + cos(pi * (step - warmup) / (total - warmup))) / 2

    With `peak_twice`, as in DINO and EsViT, the warm-up has its peak one step earlier, and
    the cosine begins with it once more:

        step < warmup: start + (peak - start) * step / (warmup - 1)

    With `cosine_from_start`, as in timm and MoBY, the warm-up replaces the beginning of a cosine over the
    whole run, so that the peak is never quite reached:

        step >= warmup: end + (peak - end) * (1 + cos(pi * step / total)) / 2

    | step             | value |
    |------------------|-------|
    | 0                | start (peak without warm-up) |
    | warmup           | peak  |
    | total            | end   |

    Args:
        step: Finished optimizer steps.
        peak: Value at the end of the warm-up.
        start: Value of the first step: 1e-6 for CARE, 0 for BYOL.
        end: Value at `total`, which the last step does not reach.
        warmup: Steps of the warm-up, 0 for none.
        total: Steps of the whole run, warm-up included.
        peak_twice: Whether the last step of the warm-up and the first of the cosine have the same value.
        cosine_from_start: Whether the cosine counts its steps from the beginning of the warm-up.

    Example:
        >>> [warmup_cosine(i, peak=0.2, start=0.0, end=0.0, warmup=2, total=6) for i in (0, 1, 2, 4, 6)]
        [0.0, 0.1, 0.2, 0.1, 0.0]
    """
    if step < warmup:
        return start + (peak - start) * step / (max(warmup - 1, 1) if peak_twice else warmup)
    origin = 0 if cosine_from_start else warmup
    progress = min((step - origin) / (total - origin), 1.0)
    return end + (peak - end) * (1 + math.cos(math.pi * progress)) / 2


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(EpochLengths):
    """The schedule of CARE and BYOL for mmengine's runner; see `warmup_cosine` for the formula.

    mmengine's LinearLR followed by CosineAnnealingLR is off by one step at the end of the warm-up.
    In a config, give `warmup` in epochs and set `convert_to_iter_based=True`; `end` is the whole run unless
    given:

        param_scheduler = [
            dict(type='WarmupCosineLR', warmup=10, start_value=1e-6, convert_to_iter_based=True)]

    The total is epochs times the length of the loader. BYOL's own total is floor(epochs * images / batch),
    which differs by the images that `drop_last` leaves out; to have it, train in iterations and give `end`.
    Groups with other learning rates keep their ratio to the base group, except for `start_value` and
    `eta_min`; `start_ratio` and `eta_min_ratio` are shares of each group's learning rate, which
    `--auto-scale-lr` scales with it: a warm-up from a hundredth has `start_ratio=0.01`. Other entries of the
    groups can be scheduled as well: DINO's weight decay is `param_name='weight_decay'` with `eta_min=0.4`;
    groups where the entry is 0 keep it.

    Args:
        optimizer: Optimizer or optim wrapper.
        warmup: Length of the warm-up, in iterations (in epochs with `convert_to_iter_based`).
        start_value: Value of the first step of the warm-up.
        eta_min: Value at the end.
        start_ratio: The first value as a share of the group's, in place of `start_value`.
        eta_min_ratio: The last value as a share of the group's, in place of `eta_min`.
        peak_twice: See `warmup_cosine`.
        cosine_from_start: See `warmup_cosine`.
        offset: Steps by which the schedule is ahead: 1 where epochs are counted from 1, as InfoMin's program
            does, whose first epoch is below the peak and whose last one is at the end. Not before a warm-up.
        param_name: The scheduled entry of the parameter groups.
        begin: First iteration (epoch).
        end: End of the run, in iterations (epochs).
        last_step: Index of the last step, for resuming.
        by_epoch: Whether the numbers count epochs.
        verbose: Print each value.

    Raises:
        ValueError: A warm-up that is negative or not shorter than the run, an unknown end, an end both as
            a value and as a ratio, a negative ratio or offset, or an offset before a warm-up.
    """

    lengths = ("warmup",)

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        warmup: int = 0,
        start_value: float = 0.0,
        eta_min: float = 0.0,
        start_ratio: float | None = None,
        eta_min_ratio: float | None = None,
        peak_twice: bool = False,
        cosine_from_start: bool = False,
        offset: int = 0,
        param_name: str = "lr",
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
    ) -> None:
        if end >= INF:
            raise ValueError(
                "WarmupCosineLR needs to know where the run ends: set `end`, or let the runner do so."
            )
        if not 0 <= warmup < end - begin:
            raise ValueError(
                f"warmup must be at least 0 and shorter than the run, got warmup={warmup} of "
                f"{end - begin} {'epochs' if by_epoch else 'iterations'}."
            )
        if offset < 0 or (offset and warmup):
            raise ValueError(
                f"offset must be at least 0, and 0 with a warm-up, got offset={offset}, warmup={warmup}."
            )
        _check_end("start_value", start_value, "start_ratio", start_ratio)
        _check_end("eta_min", eta_min, "eta_min_ratio", eta_min_ratio)
        self.warmup = warmup
        self.start_value = start_value
        self.eta_min = eta_min
        self.start_ratio = start_ratio
        self.eta_min_ratio = eta_min_ratio
        self.peak_twice = peak_twice
        self.cosine_from_start = cosine_from_start
        self.offset = offset
        self.total = end - begin
        super().__init__(
            optimizer,
            param_name=param_name,
            begin=begin,
            end=end,
            last_step=last_step,
            by_epoch=by_epoch,
            verbose=verbose,
        )

    def jump_to(self, step: int) -> None:
        """Go on at `step` finished steps, as a run that continues another one does."""
        self._global_step = step - 1
        self.last_step = step - 1
        with warnings.catch_warnings():
            # torch expects an optimizer step before, which the other run made
            warnings.simplefilter("ignore", UserWarning)
            self.step()

    def _get_value(self) -> list[float]:
        return [
            warmup_cosine(
                self.last_step + self.offset,
                peak=base,
                start=self.start_value if self.start_ratio is None else base * self.start_ratio,
                end=self.eta_min if self.eta_min_ratio is None else base * self.eta_min_ratio,
                warmup=self.warmup,
                total=self.total,
                peak_twice=self.peak_twice,
                cosine_from_start=self.cosine_from_start,
            )
            if base
            else 0.0
            for base in self.base_values
        ]


def _check_end(name: str, value: float, ratio_name: str, ratio: float | None) -> None:
    if ratio is not None and (value or ratio < 0):
        raise ValueError(
            f"{ratio_name} must be at least 0 and takes the place of {name}, got {ratio_name}={ratio} "
            f"and {name}={value}; give one of them."
        )
