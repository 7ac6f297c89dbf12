"""EpochLengths: schedules per iteration whose lengths are given in epochs."""

from __future__ import annotations

from typing import Any, ClassVar

from mmengine.optim.scheduler.param_scheduler import INF, _ParamScheduler


class EpochLengths(_ParamScheduler):
    """`convert_to_iter_based` for schedulers with lengths of their own.

    Attributes:
        lengths: Arguments of the constructor that count epochs then, beside `begin` and `end`.
    """

    lengths: ClassVar[tuple[str, ...]]

    @classmethod
    def build_iter_from_epoch(
        cls,
        *args: Any,
        begin: int = 0,
        end: int = INF,
        by_epoch: bool = True,
        epoch_length: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """The schedule in iterations whose lengths are given in epochs of `epoch_length` iterations.

        Raises:
            ValueError: The loader has no length, or the schedule counts iterations already.
        """
        if not by_epoch or not epoch_length:
            raise ValueError(
                "convert_to_iter_based needs by_epoch=True and a loader of known length, got "
                f"by_epoch={by_epoch}, epoch_length={epoch_length}."
            )
        for name in cls.lengths:
            if name in kwargs:
                kwargs[name] = int(kwargs[name] * epoch_length)
        begin = int(begin * epoch_length)
        end = int(end * epoch_length) if end != INF else INF
        return cls(*args, begin=begin, end=end, by_epoch=False, **kwargs)
