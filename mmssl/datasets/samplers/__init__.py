from .counter_sampler import CounterSampler
from .keyed_sampler import KeyedSampler
from .sliding_window_sampler import SlidingWindowSampler, in_windows

__all__ = ["CounterSampler", "KeyedSampler", "SlidingWindowSampler", "in_windows"]
