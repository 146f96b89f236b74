"""A trained network for all tests of the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from explore.small_runs import train


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs as `jetprop demo` leaves them, of which two can be shown."""
    place = tmp_path_factory.mktemp("runs")
    for name, seed in (("demo-0", 0), ("demo-1", 1)):
        train(place / "2s" / name, seed=seed)
    return place
