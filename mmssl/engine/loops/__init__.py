from .epoch_loop import EpochLoop
from .window_loop import WindowLoop

__all__ = ["EpochLoop", "WindowLoop"]
