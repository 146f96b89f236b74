"""What the training tables share: networks trained one after the other, resumable, each beside its figure."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from jetprop.experiments.records import Figure, Record
from jetprop.experiments.registry import Context
from jetprop.jets import keep_freed_memory
from jetprop.training import Recipe, Result, fit
from jetprop.training.checkpoint import save_tensors
from jetprop.training.progress import Callback

__all__ = ["BEFORE", "Cell", "KeepBefore", "TimeLimit", "train", "train_ahead", "train_cells"]

BEFORE = "before.safetensors"
"""In the folder of a run that ends with a trade-off: the weights before it."""


@dataclass(frozen=True)
class Cell:
    """One network of a table.

    Args:
        column: its column.
        recipe: how it is trained.
        published: by row ("training", "test"), what the paper prints, in per cent.
    """

    column: str
    recipe: Mapping[str, Any]
    published: Mapping[str, float]


class TimeLimit(Callback):
    """Ends the training, at a checkpoint, when a wall-clock limit is reached.

    Args:
        until: `time.monotonic()` at which to stop; None never.
    """

    def __init__(self, until: float | None) -> None:
        self.until = until

    def on_step(self, trainer: Any) -> None:  # noqa: ANN401
        """Look at the clock."""
        if self.until is not None and time.monotonic() > self.until:
            trainer.stop("the time limit of this call is reached; call it again to go on")


class KeepBefore(Callback):
    """Keeps the weights as they are when the last phase of the training begins, beside the final ones.

    Args:
        path: of the file.
        start: of the phase, the progress in (0, 1).
    """

    def __init__(self, path: Path, start: float) -> None:
        self.path, self.start, self._looked = path, start, False

    def on_step(self, trainer: Any) -> None:  # noqa: ANN401
        """Write once, when it is time to; drop what belongs to a run that went on from a point before that."""
        if trainer.progress < self.start:
            if not self._looked:
                self.path.unlink(missing_ok=True)
            self._looked = True
        elif not self.path.exists():
            with trainer.clock.on("checkpoint"):
                held = {f"model.{name}": value for name, value in trainer.model.state_dict().items()}
                save_tensors(self.path, held, {**trainer.meta, "step": trainer.step})


def _callbacks(folder: Path, recipe: Mapping[str, Any], until: float | None) -> list[Callback]:
    """The time limit; and for robust training in phases, the last of which is the trade-off, the weights before it."""
    phases = recipe.get("objective", {}).get("phases") or []
    if phases and any("robust" in phase for phase in phases):
        return [TimeLimit(until), KeepBefore(folder / BEFORE, phases[-1]["from"])]
    return [TimeLimit(until)]


def train_ahead(
    context: Context,
    recipes: Mapping[str, Mapping[str, Any]],
    until: float | None = None,
    after: Callable[[Result], object] | None = None,
) -> None:
    """Train several networks side by side, each in a process of its own; `train` then reads them back.

    Does nothing if `context.jobs` is 1. The recipes should count the processor's time and name their threads.

    Args:
        context: where, and how many at a time.
        recipes: by the name of the network.
        until: `time.monotonic()` at which to stop.
        after: done with each network that has finished, in its process; it must be importable.
    """
    missing = {name: recipe for name, recipe in recipes.items() if not _ended(_folder(context, name))}
    if context.jobs == 1 or not missing:
        return
    with ProcessPoolExecutor(context.jobs, get_context("spawn")) as processes:
        waiting = {
            processes.submit(_train_apart, _folder(context, name), recipe, until, after): name
            for name, recipe in missing.items()
        }
        for done in as_completed(waiting):
            context.say(f"{waiting[done]}: {done.result()}")


def _ended(folder: Path) -> bool:
    try:
        return json.loads((folder / "result.json").read_text(encoding="utf-8"))["status"] != "stopped"
    except OSError:
        return False


def _train_apart(
    folder: Path, recipe: Mapping[str, Any], until: float | None, after: Callable[[Result], object] | None
) -> str:
    if until is not None and time.monotonic() > until:
        return "no time left"
    keep_freed_memory()
    result = fit(Recipe.build(recipe), out=folder, callbacks=_callbacks(folder, recipe, until), progress=False)
    if after is not None and result.finished:
        after(result)
    return f"{result.status} after {result.steps} steps"


def _folder(context: Context, name: str) -> Path:
    return context.runs / name.replace(" ", "-")


def train(context: Context, name: str, recipe: Mapping[str, Any], until: float | None = None) -> Result:
    """Train one network in the experiment's folder, or read it back if that was done before."""
    context.say(f"{name}: {_brief(recipe)}")
    result = fit(
        Recipe.build(recipe),
        out=_folder(context, name),
        callbacks=_callbacks(_folder(context, name), recipe, until),
        progress=context.show,
    )
    found = ", ".join(
        f"{key.replace('_', ' ')} {100 * value:.3g} %" for key, value in result.metrics.items() if "error" in key
    )
    context.say(f"{name}: {result.status} after {result.steps} steps, {result.seconds['training']:.0f} s; {found}")
    return result


def train_cells(context: Context, name: str, cells: list[Cell], command: str, notes: list[str]) -> Record:
    """Train every network of a table and record its errors beside the published ones.

    A time limit in the context ends the call early; what is finished stays, and the record says what is missing.
    """
    until = None if context.seconds is None else time.monotonic() + context.seconds
    record = Record(
        experiment=name,
        scale=context.scale,
        command=command,
        settings={cell.column: dict(cell.recipe) for cell in cells},
        notes=list(notes),
    )
    runs = {f"{name} {context.scale} {cell.column}": cell for cell in cells}
    train_ahead(context, {run: cell.recipe for run, cell in runs.items()}, until)
    for run, cell in runs.items():
        result = train(context, run, cell.recipe, until)
        finished = result.finished
        if not finished:
            record.notes.append(f"{cell.column}: {result.status} after {result.steps} steps. {result.message}")
        for row in ("training", "test"):
            error = result.metrics.get(f"{'train' if row == 'training' else 'test'}_error")
            ours = None if error is None or not finished else 100 * error
            record.figures.append(Figure(row, cell.column, ours, cell.published.get(row)))
        record.figures.append(
            Figure("time", cell.column, result.seconds["training"] / 60, cell.published.get("time"), "minutes")
        )
        record.seconds[cell.column] = result.seconds["total"]
    return record


def _brief(recipe: Mapping[str, Any]) -> str:
    training = recipe["training"]
    budget = next(f"{training[k]} {k}" for k in ("epochs", "steps", "seconds") if training.get(k) is not None)
    return f"{'-'.join(map(str, recipe['model']['widths']))}, order {recipe['data']['order']}, {budget}"
