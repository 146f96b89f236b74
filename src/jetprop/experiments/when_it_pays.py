"""When do derivatives pay? Error against the number of images, against time, and against the optimizer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from jetprop.experiments.records import Figure, Record
from jetprop.experiments.registry import Context, experiment
from jetprop.experiments.training_table import COSINE, MUON, second_order_phases, train

__all__ = ["METHODS", "Case", "recipe"]

Method = Literal["values only", "first", "second", "one random direction"]
METHODS: tuple[Method, ...] = ("values only", "one random direction", "first", "second")
WIDTHS = [1681, 256, 256, 256, 128, 9]
TEST_IMAGES, TEST_START = 4096, 97020


@dataclass(frozen=True)
class Case:
    """One training run.

    Args:
        part: which question it answers: "images", "time" or "optimizer".
        method: what is trained.
        images: how many training images; 0 for fresh ones at every step, without end.
        seconds: training time.
        optimizer: "muon" or "adam".
    """

    part: Literal["images", "time", "optimizer"]
    method: Method
    images: int
    seconds: float
    optimizer: Literal["muon", "adam"] = "muon"

    @property
    def label(self) -> str:
        """How the case is called in tables and folders."""
        where = f"{self.images} images" if self.images else "fresh images"
        return f"{self.part}, {self.method}, {where}, {self.optimizer}, {self.seconds:g} s"


def recipe(case: Case, small: bool = False, seed: int = 0) -> dict[str, Any]:
    """The recipe that is best at equal time for a method (see the page on when it pays).

    Args:
        case: what to train on, and how long.
        small: a tiny network for a few steps.
        seed: of weights, order and directions.
    """
    order = {"values only": 0, "one random direction": 1, "first": 1, "second": 2}[case.method]
    weights = {0: [1.0], 1: [1.0, 1.0], 2: [1.0, 1.0, 0.1]}[order]
    data: dict[str, Any] = {"order": order, "test_images": TEST_IMAGES, "test_start": TEST_START}
    if case.images:
        data["images"] = case.images
    else:
        data["fresh"] = True
    if case.method == "one random direction":
        data["directions"] = {"random": 1}
        weights = [1.0, 0.01]
    if small:
        data |= {"images": 64, "test_images": 32}
    return {
        "model": {"widths": [1681, 16, 16, 8, 9] if small else WIDTHS, "activation": "silu", "init": "torch"},
        "data": data,
        "objective": {
            "weights": weights,
            "phases": second_order_phases(order),
        },
        "optimizer": MUON if case.optimizer == "muon" else {"name": "adam", "rate": 1e-3},
        "schedule": COSINE,
        "training": {
            "batch": 16 if small else 64,
            **({"steps": 6} if small else {"seconds": case.seconds}),
            "seed": seed,
            "precision": "32-medium",
            "log_every": 6 if small else 200,
            "evaluate_every": 0 if small else 2000,
        },
    }


def _cases(scale: str) -> Iterator[Case]:
    if scale == "smoke":
        yield Case("images", "values only", 64, 1.0)
        yield Case("optimizer", "one random direction", 64, 1.0, "adam")
        return
    seconds, long = (150.0, 600.0) if scale == "cpu" else (600.0, 3600.0)
    for images in (256, 1024, 4096, 16384, 65536):
        for method in METHODS:
            yield Case("images", method, images, seconds)
    for method in METHODS:
        yield Case("optimizer", method, 16384, seconds, "adam")
    for method in METHODS:
        yield Case("time", method, 32768, long)
    yield Case("time", "values only", 0, long)
    yield Case("time", "one random direction", 0, long)


@experiment(
    "when-it-pays",
    "When derivatives pay: images, time, optimizer",
    smoke="about a second",
    cpu="two and a half hours on 2 cores; resumable",
    paper="a day on 2 cores, minutes on a GPU; resumable",
)
def when_it_pays(context: Context) -> Record:
    """Every case one after the other; those that an earlier call finished are read back."""
    until = None if context.seconds is None else time.monotonic() + context.seconds
    record = Record(
        experiment="when-it-pays",
        scale=context.scale,
        command=f"jetprop reproduce when-it-pays --scale {context.scale} --seed {context.seed}",
        settings={},
    )
    curves = {}
    for case in _cases(context.scale):
        if until is not None and time.monotonic() > until:
            record.notes.append(f"{case.label}: not run, the time limit of the call was reached")
            continue
        chosen = recipe(case, context.scale == "smoke", context.seed)
        result = train(context, f"when-it-pays {context.scale} {case.label.replace(',', '')}", chosen, until)
        record.settings[case.label] = chosen
        error = 100 * result.metrics["test_error"] if result.finished else None
        where = f"{case.images} images" if case.images else "fresh images"
        column = f"{case.part}: {where}, {case.optimizer}, {case.seconds:g} s"
        record.figures.append(Figure(case.method, column, error))
        record.seconds[case.label] = result.seconds["total"]
        curves[case.label] = [[e["seconds"], 100 * e["test_error"]] for e in result.history if "test_error" in e]
        if not result.finished:
            record.notes.append(f"{case.label}: {result.status} after {result.steps} steps. {result.message}")
    record.data["curves"] = curves
    return record
