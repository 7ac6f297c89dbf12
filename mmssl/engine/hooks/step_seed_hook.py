"""StepSeedHook: random numbers of a training step as a function of (seed, rank, iteration)."""

from __future__ import annotations

import random

import numpy as np
import torch
from mmengine.hooks import Hook

from mmssl.ops.collectives import rank
from mmssl.registry import HOOKS


@HOOKS.register_module()
class StepSeedHook(Hook):
    """Seed torch, NumPy and Python before every iteration, so that a resumed run draws the same numbers.

    for each iteration
        before_train_iter   seed(seed, rank, iteration)     <-
        train_step          stochastic depth, drop-out, sampled negatives, ...

    Nothing needs to be saved, and an iteration can be repeated alone.
    """

    priority = "VERY_HIGH"

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        """Seed the global generators for the iteration that begins."""
        words = np.random.SeedSequence((runner.seed, rank(), runner.iter)).generate_state(3)
        torch.manual_seed(int(words[0]))
        np.random.seed(int(words[1]))
        random.seed(int(words[2]))
