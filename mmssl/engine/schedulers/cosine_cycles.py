"""CosineCyclesLR: half a cosine again and again, restarted or swinging back, one step late or early."""

from __future__ import annotations

import math

from mmengine.optim.scheduler.param_scheduler import INF
from torch.optim import Optimizer

from mmssl.engine.schedulers.epoch_lengths import EpochLengths
from mmssl.registry import PARAM_SCHEDULERS


def cosine_cycle(
    step: int, *, peak: float, low: float, period: int, shift: int = 0, restart: bool = True
) -> float:
    """Learning rate of the optimizer step that follows `step` finished ones.

        s = max(step + shift, 0),  with restarts s modulo period
        low + (peak - low) * (1 + cos(pi * s / period)) / 2

    | step (shift 0)   | restart=True     | restart=False |
    |------------------|------------------|---------------|
    | 0                | peak             | peak          |
    | period / 2       | middle           | middle        |
    | period           | peak             | low           |
    | 2 * period       | peak             | peak          |

    Args:
        step: Finished steps (or epochs).
        peak: Highest value.
        low: Value that the cosine goes down to.
        period: Steps from the peak down.
        shift: -1 for a scheduler that is stepped behind the optimizer with the place of the iteration
            that is over; 1 for one that is stepped before the first epoch.
        restart: Jump back to the peak (SGDR), or swing back along the cosine.

    Example:
        >>> [cosine_cycle(i, peak=2.0, low=0.0, period=2, shift=-1) for i in range(6)]
        [2.0, 2.0, 1.0, 2.0, 1.0, 2.0]
        >>> [round(cosine_cycle(i, peak=2.0, low=0.0, period=2, restart=False), 6) for i in range(5)]
        [2.0, 1.0, 0.0, 1.0, 2.0]
    """
    place = max(step + shift, 0)
    if restart:
        place %= period
    return low + (peak - low) * (1 + math.cos(math.pi * place / period)) / 2


@PARAM_SCHEDULERS.register_module()
class CosineCyclesLR(EpochLengths):
    """Cosine cycles for mmengine's runner; see `cosine_cycle` for the formula.

    HCSC's Places205 evaluation restarts every ten epochs, per iteration and one iteration late; its
    VOC07 classification swings with twelve epochs per epoch, one epoch early:

        dict(type='CosineCyclesLR', period=10, shift=-1, convert_to_iter_based=True)
        dict(type='CosineCyclesLR', period=12, shift=1, restart=False)

    SGDR: stochastic gradient descent with warm restarts, 2016, arXiv 1608.03983.

    Args:
        optimizer: Optimizer or optim wrapper.
        period: Length of a cycle, in iterations (in epochs with `convert_to_iter_based` or `by_epoch`).
        shift: See `cosine_cycle`; in iterations with `convert_to_iter_based`.
        restart: See `cosine_cycle`.
        eta_min: Lowest value.
        param_name: The scheduled entry of the parameter groups.
        begin: First iteration (epoch).
        end: End of the schedule, in iterations (epochs).
        last_step: Index of the last step, for resuming.
        by_epoch: Whether the numbers count epochs.
        verbose: Print each value.

    Raises:
        ValueError: A period below 1.
    """

    lengths = ("period",)

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        period: int,
        shift: int = 0,
        restart: bool = True,
        eta_min: float = 0.0,
        param_name: str = "lr",
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
    ) -> None:
        if period < 1:
            raise ValueError(f"A cycle needs a period of at least 1, got {period}.")
        self.period = period
        self.shift = shift
        self.restart = restart
        self.eta_min = eta_min
        super().__init__(
            optimizer,
            param_name=param_name,
            begin=begin,
            end=end,
            last_step=last_step,
            by_epoch=by_epoch,
            verbose=verbose,
        )

    def _get_value(self) -> list[float]:
        return [
            cosine_cycle(
                self.last_step,
                peak=base,
                low=self.eta_min,
                period=self.period,
                shift=self.shift,
                restart=self.restart,
            )
            for base in self.base_values
        ]
