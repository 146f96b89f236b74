"""Rates over time."""

from __future__ import annotations

import pytest

from jetprop.training import Schedule, ScheduleConfig


def test_constant_with_warmup() -> None:
    schedule = Schedule(ScheduleConfig(warmup=0.1), 0.5)
    assert [schedule(p) for p in (0.0, 0.05, 0.1, 1.0)] == pytest.approx([0, 0.5, 1, 1])


def test_cosine_goes_from_the_base_rate_to_the_final_one() -> None:
    schedule = Schedule(ScheduleConfig(kind="cosine", warmup=0.2, final=0.01), 0.1)
    assert [schedule(p) for p in (0.1, 0.2, 0.6, 1.0)] == pytest.approx([0.5, 1, 0.55, 0.1])
    falling = [schedule(0.2 + 0.008 * k) for k in range(101)]
    assert falling == sorted(falling, reverse=True)


def test_steps_are_absolute_rates() -> None:
    """Section 4.2: 1e-3 for 1950 epochs, 1e-4 for 25, 1e-5 for 25."""
    schedule = Schedule(ScheduleConfig(kind="steps", steps=[[0.975, 1e-4], [0.9875, 1e-5]]), 1e-3)
    assert [1e-3 * schedule(e / 2000) for e in (0, 1949, 1950, 1974, 1975, 1999)] == pytest.approx(
        [1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5]
    )
