"""The options of the estimator: what they may be, what a network must do, and the progress bar."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from jetprop.estimators.optimize import Progress, Settings

if TYPE_CHECKING:
    from jetprop.estimators.regressor import JetRegressor

__all__ = ["bar", "check", "checked_network"]

CHOICES = {"solver": ("auto", "lbfgs", "adam"), "dtype": ("auto", "float32", "float64"), "clock": ("wall", "cpu")}
FLAGS = ("early_stopping", "standardize", "compile", "verbose")
COUNTS = ("max_iter", "n_iter_no_change")


def check(model: JetRegressor) -> None:
    """Refuse options that mean nothing.

    Raises:
        ValueError: an option has a value that it cannot have.
    """
    for name, allowed in CHOICES.items():
        value = getattr(model, name)
        if value not in allowed:
            raise ValueError(f"{name} is one of {', '.join(map(repr, allowed))}, got {value!r}")
    for name in FLAGS:
        _ask(isinstance(getattr(model, name), (bool, Integral)), model, name, "True or False")
    for name in COUNTS:
        _ask(_whole(getattr(model, name)), model, name, "an integer ≥ 1")
    _ask(model.batch_size is None or _whole(model.batch_size), model, "batch_size", "None or an integer ≥ 1")
    _ask(
        model.max_seconds is None or _number(model.max_seconds) and model.max_seconds > 0,
        model,
        "max_seconds",
        "None or a number > 0",
    )
    _ask(_number(model.learning_rate) and model.learning_rate > 0, model, "learning_rate", "a number > 0")
    _ask(_number(model.alpha) and model.alpha >= 0, model, "alpha", "a number ≥ 0")
    _ask(_number(model.tol) and 0 <= model.tol < 1, model, "tol", "a fraction in [0, 1)")
    fraction = model.validation_fraction
    _ask(_number(fraction) and 0 < fraction < 1, model, "validation_fraction", "a fraction in (0, 1)")
    weights = model.order_weights
    _ask(
        isinstance(weights, Sequence) and all(_number(w) and w >= 0 for w in weights) and any(weights),
        model,
        "order_weights",
        "a sequence of numbers ≥ 0 for orders 0, 1, 2, not all zero",
    )
    if not (isinstance(model.hidden, str) and model.hidden == "auto"):
        usable = (
            isinstance(model.hidden, Sequence) and not isinstance(model.hidden, str) and all(map(_whole, model.hidden))
        )
        _ask(usable, model, "hidden", '"auto" or a sequence of integers ≥ 1')
    _ask(isinstance(model.activation, str), model, "activation", "the name of a function")
    _ask(model.network is None or callable(model.network), model, "network", "None or a function (inputs, outputs)")


def _ask(fine: bool, model: JetRegressor, name: str, expected: str) -> None:
    if not fine:
        raise ValueError(f"{name} is {expected}, got {getattr(model, name)!r}")


def _whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1


def _number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def checked_network(model: Any, inputs: int, outputs: int) -> nn.Module:
    """A network that takes `[n, inputs]` to `[n, outputs]`, or an error that says why not."""
    if not isinstance(model, nn.Module):
        raise ValueError(f"network({inputs}, {outputs}) returned {type(model).__name__}, expected a torch.nn.Module")
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise ValueError(f"network({inputs}, {outputs}) has no parameters that require gradients: nothing to fit")
    try:
        with torch.no_grad():
            shape = tuple(model(torch.rand(2, inputs).to(trained[0])).shape)
    except Exception as error:
        raise ValueError(f"network({inputs}, {outputs}) fails on a tensor [2, {inputs}]: {error}") from error
    if shape != (2, outputs):
        raise ValueError(
            f"network({inputs}, {outputs}) returns {list(shape)} for [2, {inputs}], expected [2, {outputs}]"
        )
    return model


@contextmanager
def bar(shown: bool, settings: Settings) -> Iterator[Callable[[Progress], None] | None]:
    """A progress bar on the standard error stream, or nothing."""
    if not shown:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("fitting"), BarColumn(), TextColumn("{task.fields[found]}"), TimeElapsedColumn())
    with Bar(*columns, console=Console(file=sys.stderr)) as shown_bar:
        task = shown_bar.add_task("", total=1.0, found="")

        def report(progress: Progress) -> None:
            entry = progress.history[-1]
            numbers = f"iteration {entry['iteration']}, cost {entry['cost']:.3g}"
            if "held_out" in entry:
                numbers += f", held out {entry['held_out']:.3g}"
            if entry["fraction"] < 1:
                numbers += f" on {100 * entry['fraction']:.2g} % of the data"
            done = entry["iteration"] / settings.max_iter
            if settings.max_seconds is not None:
                done = max(done, entry["seconds"] / settings.max_seconds)
            shown_bar.update(task, completed=min(1.0, done), found=numbers)

        yield report
