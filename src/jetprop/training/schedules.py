"""The learning rate as a function of progress."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jetprop.training.config import ScheduleConfig

__all__ = ["Schedule"]


@dataclass(frozen=True)
class Schedule:
    """The factor by which the optimizer's rates are multiplied, at each progress in [0, 1].

    Progress is steps done over steps in all, or training seconds over the budget of seconds.

    Args:
        config: `[schedule]`.
        rate: the base rate, `[optimizer] rate`, to which the absolute rates of the schedule refer.

    Example:
        >>> from jetprop.training import Schedule, ScheduleConfig
        >>> schedule = Schedule(ScheduleConfig(kind="steps", steps=[[0.9, 1e-4]]), rate=1e-3)
        >>> schedule(0.5), round(schedule(0.95), 9)
        (1.0, 0.1)
    """

    config: ScheduleConfig
    rate: float

    def __call__(self, progress: float) -> float:
        """The factor: 1 is the base rate."""
        config = self.config
        factor = 1.0
        if config.kind == "cosine":
            low = (config.final or 0.0) / self.rate
            span = (progress - config.warmup) / (1 - config.warmup)
            factor = low + (1 - low) * (1 + math.cos(math.pi * min(max(span, 0.0), 1.0))) / 2
        elif config.kind == "steps":
            for fraction, rate in config.steps:
                if progress >= fraction:
                    factor = rate / self.rate
        if progress < config.warmup:
            factor *= progress / config.warmup
        return factor
