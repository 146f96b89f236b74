"""Timing for shared, noisy hardware: the rivals take turns in one process, and ratios are formed turn by turn."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

__all__ = ["Timing", "take_turns"]


@dataclass(frozen=True)
class Timing:
    """What one contestant took.

    Args:
        seconds: median over the turns.
        ratio: median over the turns of its time divided by the reference's time in the same turn.
        spread: half the distance between the quartiles of that ratio.
        turns: how many.
    """

    seconds: float
    ratio: float
    spread: float
    turns: int


def take_turns(
    contestants: Mapping[str, Callable[[], object]], reference: str, seconds: float, at_least: int = 5
) -> dict[str, Timing]:
    """Run every contestant in turns of random order, again and again, for about `seconds` in all.

    Args:
        contestants: name to a function of no arguments, warmed up already.
        reference: the one whose time is the unit of the ratios.
        seconds: the budget.
        at_least: the number of turns that are taken whatever the budget.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    order, turn = random.Random(0), list(contestants.items())
    begin = time.perf_counter()
    while len(times[reference]) < at_least or time.perf_counter() - begin < seconds:
        order.shuffle(turn)  # who follows whom matters: the one before leaves its memory in the caches
        for name, run in turn:
            start = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times[name].append(time.perf_counter() - start)
    result = {}
    for name, own in times.items():
        ratios = sorted(a / b for a, b in zip(own, times[reference], strict=True))
        low, high = ratios[len(ratios) // 4], ratios[(3 * len(ratios)) // 4]
        result[name] = Timing(statistics.median(own), statistics.median(ratios), (high - low) / 2, len(own))
    return result
