"""When do derivatives pay? Error against the number of images, against time, and against the optimizer.

Two experiments. `when-it-pays recipes` looks for the recipe that is best at equal time, for each method alike, judged
by poses that nothing else uses. `when-it-pays` takes the winners and measures them on the test set.

Time is the processor's, on one thread (`[training] clock = "cpu"`): so two networks can be trained side by side, and
other programs on the machine change no result.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from jetprop.experiments.recipes import METHODS, ORDERS, RECIPES, Changes, Method, common
from jetprop.experiments.records import Figure, Record
from jetprop.experiments.registry import Context, experiment
from jetprop.experiments.training_table import train, train_ahead

__all__ = ["CANDIDATES", "Case", "recipe"]

WIDTHS = [1681, 256, 256, 256, 128, 9]
TEST = {"data.test_images": 4096, "data.test_start": 97020}
VALIDATION = {"data.test_images": 2048, "data.test_start": 200_000}
"""Poses by which recipes are chosen; neither trained on nor tested on."""


def _weights(*weights: float) -> Changes:
    return {"objective.weights": list(weights)}


def _dropped(at: float, *weights: float) -> Changes:
    """Other weights from some part of the training on."""
    return {"objective.phases": [{"from": at, "weights": list(weights)}]}


def _batch(batch: int) -> Changes:
    return {"training.batch": batch}


def _rate(rate: float) -> Changes:
    return {"optimizer.rate": rate}


def _decay(decay: float) -> Changes:
    """Weight decay of the matrices, decoupled: a factor 1 - rate · decay a step."""
    return {"optimizer.options": {"weight_decay": decay}}


def _directions(random: int = 1, law: str = "gaussian") -> Changes:
    return {"data.directions": {"random": random, "law": law}}


ADAM: Changes = {"optimizer": {"name": "adam", "rate": 3e-3}}
"""The better of the two rates compared."""

ALL: Changes = {"optimizer.matrices": ["layers.[0123].weight"]}
"""Muon for the first layer too: much the largest matrix, it costs Muon more than the rest of a small step."""


def _rest(rate: float) -> Changes:
    """Adam's rate, for what Muon does not train."""
    return {"optimizer.rest": {"rate": rate}}


def _e2_dropped(e1: float, e2: float, at: float = 0.8) -> Changes:
    return _weights(1.0, e1, e2) | _dropped(at, 1.0, e1, 0.0)


MANY: dict[Method, tuple[Changes, ...]] = {
    "values only": (
        *(_batch(n) | ALL for n in (64, 256, 1024)),
        *(_batch(256) | ALL | _rate(rate) for rate in (0.005, 0.02, 0.04)),
        _batch(256) | ALL | _decay(1.0),
        *(_batch(256) | ADAM | {"optimizer.rate": rate} for rate in (1e-3, 3e-3)),
        *(_batch(n) for n in (64, 256, 512)),
        *(_batch(256) | _rest(rate) for rate in (3e-4, 3e-3)),
        _batch(256) | _rate(0.02) | _rest(3e-3),
    ),
    "one random direction": (
        *(_batch(64) | ALL | _weights(1.0, w) for w in (0.1, 0.01)),
        *(_batch(256) | _weights(1.0, w) for w in (0.1, 0.01, 0.001)),
        *(_batch(64) | _weights(1.0, w) for w in (0.1, 0.01)),
        _batch(256) | _rest(3e-3) | _weights(1.0, 0.01),
        _batch(256) | _directions(law="rademacher") | _weights(1.0, 0.1),
        _batch(256) | _directions(2) | _weights(1.0, 0.1),
        _batch(256) | _weights(1.0, 1.0),
        *(_batch(128) | {"data.order": 2, **_weights(1.0, *w)} for w in ((0.1, 0.01), (0.01, 0.001))),
    ),
    "first": (
        _batch(64) | ALL | _weights(1.0, 1.0),
        *(_batch(64) | _weights(1.0, w) for w in (1.0, 0.1, 0.01)),
        *(_batch(n) | _weights(1.0, 0.1) for n in (32, 128)),
        _batch(64) | _rest(3e-3) | _weights(1.0, 0.1),
        _batch(64) | _rate(0.02) | _weights(1.0, 0.1),
    ),
    "second": (
        _batch(64) | ALL | _e2_dropped(1.0, 0.1),
        *(_batch(64) | _e2_dropped(*w) for w in ((1.0, 0.1), (0.1, 0.01), (0.3, 0.1))),
        *(_batch(n) | _e2_dropped(1.0, 0.1) for n in (16, 32)),
        _batch(32) | _rest(3e-3) | _e2_dropped(1.0, 0.1),
        _batch(32) | _e2_dropped(1.0, 0.1, at=0.6),
    ),
}
"""What is tried on 16384 images."""

FEW: dict[Method, tuple[Changes, ...]] = {
    "values only": (
        *(_batch(64) | _decay(d) for d in (0.0, 0.03, 0.1)),
        _batch(64) | ADAM | {"optimizer.rate": 3e-3},
    ),
    "one random direction": tuple(_batch(64) | _weights(1.0, w) for w in (1.0, 0.1, 0.01)),
    "first": tuple(_batch(64) | _weights(1.0, w) for w in (1.0, 0.1)),
    "second": (
        _batch(64) | _e2_dropped(1.0, 0.1),
        _batch(64) | _weights(1.0, 1.0, 0.1),
        _batch(64) | _weights(1.0, 1.0, 1.0),
    ),
}
"""What is tried on 1024 images."""

CANDIDATES: dict[int, dict[Method, tuple[Changes, ...]]] = {16384: MANY, 1024: FEW}
"""Recipes that were compared, by the number of images."""


@dataclass(frozen=True)
class Case:
    """One training run.

    Args:
        method: what is trained.
        images: how many training images; 0 for fresh ones at every step, without end.
        seconds: training time, the processor's.
        changes: to the recipe of the method; with part "recipes", to the common recipe.
        part: which question it answers.
        seed: of weights, order and directions.
    """

    method: Method
    images: int
    seconds: float
    changes: Changes = field(default_factory=dict)
    part: str = "images"
    seed: int = 0

    @property
    def where(self) -> str:
        """What it was trained on, in words."""
        return f"{self.images} images" if self.images else "fresh images"


def recipe(case: Case, judged_by: Changes = TEST, small: bool = False) -> dict[str, Any]:
    """A method's recipe for a case.

    Args:
        case: what to train, on what, and how long.
        judged_by: the poses that are tested on, `TEST` or `VALIDATION`.
        small: a tiny network for a few steps.
    """
    order = case.changes.get("data.order", ORDERS[case.method])
    chosen = {} if case.part == "recipes" else RECIPES[case.method]
    changes = {**chosen, **case.changes, **judged_by, "data.images": case.images or 4096}
    if not case.images:
        changes["data.fresh"] = True
    if case.method == "one random direction":
        changes.setdefault("data.directions", {"random": 1})
    if small:
        changes |= {"data.images": 64, "data.test_images": 32, "training.batch": 16}
    training = {
        **({"steps": 6} if small else {"seconds": case.seconds}),
        "clock": "cpu",
        "threads": 1,
        "seed": case.seed,
        "log_every": 6 if small else 200,
        "evaluate_every": 0 if small else 2000,
    }
    return common([1681, 16, 16, 8, 9] if small else WIDTHS, order, {}, training).replace(changes).values(full=False)


def described(changes: Changes) -> str:
    """Changes in a few words, as tables and folders name them."""
    words = []
    for key, value in changes.items():
        if key == "objective.phases":
            words.append("; ".join(f"from {p['from']:g} {p['weights']}" for p in value))
        elif key == "optimizer":
            words.append(value["name"])
        elif isinstance(value, dict):
            words.append(" ".join(f"{name} {_short(entry)}" for name, entry in value.items()))
        else:
            words.append(f"{key.split('.')[-1]} {_short(value)}")
    return ", ".join(words).replace("'", "") or "as it stands"


def _short(value: Any) -> str:  # noqa: ANN401
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _grid(scale: str, seed: int) -> Iterator[Case]:
    if scale == "smoke":
        yield Case("values only", 64, 1.0)
        yield Case("one random direction", 64, 1.0, ADAM, "optimizer")
        return
    seconds, long = (60.0, 600.0) if scale == "cpu" else (600.0, 3600.0)
    for images in (256, 1024, 4096, 16384, 65536):
        for method in METHODS:
            yield Case(method, images, seconds, seed=seed)
    for method in METHODS:
        yield Case(method, 16384, seconds, ADAM, "optimizer", seed)
    for images, methods in ((32768, METHODS), (0, METHODS[:2])):
        for method in methods:
            yield Case(method, images, long, part="time", seed=seed)


def _candidates(scale: str, seed: int) -> Iterator[Case]:
    if scale == "smoke":
        yield Case("values only", 64, 1.0, _batch(16), "recipes")
        yield Case("first", 64, 1.0, _weights(1.0, 0.1), "recipes")
        return
    for images, methods in CANDIDATES.items():
        for method, tried in methods.items():
            for changes in tried:
                yield Case(method, images, 60.0 if scale == "cpu" else 600.0, changes, "recipes", seed)


def _run(
    context: Context, record: Record, cases: list[Case], judged_by: Changes
) -> Iterator[tuple[Case, float | None]]:
    """Train the cases that are not trained yet; yields the error of each, None where there was no time for it."""
    until = None if context.seconds is None else time.monotonic() + context.seconds
    runs = {}
    for case in cases:
        name = f"{case.part} {case.method} {case.where} {case.seconds:g} s {described(case.changes)} seed {case.seed}"
        runs[f"when-it-pays {context.scale} {''.join(c for c in name if c not in ',;:[]*')}"] = case
    recipes = {name: recipe(case, judged_by, context.scale == "smoke") for name, case in runs.items()}
    train_ahead(context, recipes, until)
    curves = record.data.setdefault("curves", {})
    for name, case in runs.items():
        if until is not None and time.monotonic() > until:
            record.notes.append(f"{name}: not run, the time limit of the call was reached")
            yield case, None
            continue
        result = train(context, name, recipes[name], until)
        record.settings[name] = recipes[name]
        record.seconds[name] = result.seconds["total"]
        curves[name] = [[e["seconds"], 100 * e["test_error"]] for e in result.history if "test_error" in e]
        if not result.finished:
            record.notes.append(f"{name}: {result.status} after {result.steps} steps. {result.message}")
        yield case, 100 * result.metrics["test_error"] if result.finished else None


@experiment(
    "when-it-pays recipes",
    "Which recipe is best at equal time? Judged by poses of its own",
    smoke="about a second",
    cpu="50 minutes of one core; resumable, and --jobs 2 halves it",
    paper="8 hours of one core; resumable",
)
def recipes_compared(context: Context) -> Record:
    """Every candidate of `CANDIDATES` for the same time."""
    record = Record(
        experiment="when-it-pays recipes",
        scale=context.scale,
        command=f"jetprop reproduce when-it-pays recipes --scale {context.scale} --seed {context.seed}",
        settings={},
        notes=["errors are on 2048 validation poses, used for nothing else"],
    )
    for case, error in _run(context, record, list(_candidates(context.scale, context.seed)), VALIDATION):
        record.figures.append(Figure(f"{case.method}: {described(case.changes)}", case.where, error))
    return record


@experiment(
    "when-it-pays",
    "When derivatives pay: images, time, optimizer",
    smoke="about a second",
    cpu="two hours of one core; resumable, and --jobs 2 halves it",
    paper="a day of one core; resumable",
)
def when_it_pays(context: Context) -> Record:
    """Every case of the grid with the chosen recipes, on the test set."""
    record = Record(
        experiment="when-it-pays",
        scale=context.scale,
        command=f"jetprop reproduce when-it-pays --scale {context.scale} --seed {context.seed}",
        settings={},
    )
    for case, error in _run(context, record, list(_grid(context.scale, context.seed)), TEST):
        optimizer = case.changes.get("optimizer", {"name": "muon"})["name"]
        record.figures.append(Figure(case.method, f"{case.where}, {optimizer}, {case.seconds:g} s", error))
    return record
