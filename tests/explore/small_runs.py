"""Folders of runs to look at: networks trained for two steps."""

from __future__ import annotations

from pathlib import Path

from jetprop.explore import Run, find_runs
from jetprop.training import Recipe, fit


def train(folder: Path, seed: int = 0) -> Path:
    recipe = {
        "model": {"widths": [1681, 16, 9], "activation": "tanh"},
        "data": {"images": 64, "test_images": 0, "order": 0},
        "objective": {"weights": [1.0]},
        "optimizer": {"name": "adam", "rate": 1e-3},
        "training": {
            "batch": 32,
            "steps": 2,
            "seed": seed,
            "accelerator": "cpu",
            "precision": "64-true",
            "compile": "never",
        },
    }
    fit(Recipe.build(recipe), out=folder, progress=False)
    return folder


def first_run(folder: Path) -> Run:
    return find_runs(folder).found[0]
