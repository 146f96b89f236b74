"""The small record that every experiment leaves: what was asked, where it ran, ours beside the published figures."""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from jetprop.jets import compilation

__all__ = ["Figure", "Record", "environment"]


@dataclass(frozen=True)
class Figure:
    """One figure of a table.

    Args:
        row: the row of the table, e.g. "test".
        column: its column, e.g. "0.6".
        ours: what this run found; None if it did not get that far.
        published: what the paper prints; None if it prints nothing there.
        unit: "%" or another.
    """

    row: str
    column: str
    ours: float | None
    published: float | None = None
    unit: str = "%"


@dataclass
class Record:
    """What one run of an experiment leaves under `results/`.

    Args:
        experiment: e.g. "avrutskiy2023 table2".
        scale: "smoke", "cpu" or "paper".
        command: what to type to get it again.
        settings: everything that decides the outcome, seed included.
        figures: ours beside the published ones.
        notes: what a reader must know: deviations, what did not finish.
        seconds: wall-clock seconds of each part.
        environment: versions, device, threads, compiled kernels.
        data: anything else that reports draw from.
    """

    experiment: str
    scale: str
    command: str
    settings: dict[str, Any]
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=lambda: environment())
    data: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: Path) -> Path:
        """Write `<folder>/<experiment>-<scale>.json`, whole or not at all.

        Raises:
            OSError: the folder cannot be written to.
        """
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.experiment.replace(' ', '-')}-{self.scale}.json"
        partial = path.with_suffix(f".{os.getpid()}.partial")
        partial.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.replace(path)
        return path

    @classmethod
    def load(cls, path: Path) -> Record:
        """Read what `save` wrote."""
        values = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**values, "figures": [Figure(**figure) for figure in values["figures"]]})


def environment() -> dict[str, Any]:
    """Versions, device, threads and compiled kernels of this process."""
    packages = {}
    for package in ("jetprop", "torch", "lightning-fabric", "numpy"):
        try:
            packages[package] = version(package)
        except PackageNotFoundError:
            packages[package] = "not installed"
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": sys.version.split()[0],
        "platform": platform.machine(),
        "packages": packages,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
        "compilation": compilation(),
    }
