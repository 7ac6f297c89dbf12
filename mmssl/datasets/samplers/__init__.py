from .counter_sampler import CounterSampler

__all__ = ["CounterSampler"]
