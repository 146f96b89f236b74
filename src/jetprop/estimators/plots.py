"""Looking at a fitted estimator: convergence, actual by predicted, sensitivity profiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

if TYPE_CHECKING:
    from jetprop.estimators.regressor import JetRegressor

__all__ = ["plot_actual_by_predicted", "plot_convergence", "plot_sensitivities"]

SIDE = 2.6
"""Of one panel, inches."""


def plot_convergence(model: JetRegressor) -> Figure:
    """The cost of each iteration, and that of the held-out points if there are any; parts of the data dotted.

    Args:
        model: fitted.
    """
    check_is_fitted(model, "network_")
    figure, ((axes,),) = _panels(1, 1, width=1.8)
    entries = model.history_
    for fraction in sorted({e["fraction"] for e in entries}):
        some = [e for e in entries if e["fraction"] == fraction]
        label = "cost" if fraction == 1 else f"cost on {100 * fraction:.2g} % of the data"
        axes.plot([e["iteration"] for e in some], [e["cost"] for e in some], "-" if fraction == 1 else ":", label=label)
    if "held_out" in entries[-1]:
        axes.plot([e["iteration"] for e in entries], [e["held_out"] for e in entries], "--", label="held out")
    axes.set(xlabel="iteration", ylabel="cost", yscale="log")
    axes.legend(frameon=False)
    return figure


def plot_actual_by_predicted(model: JetRegressor, X: ArrayLike, y: ArrayLike, dydx: ArrayLike | None = None) -> Figure:
    """Given against predicted values, and partials if they are given; a row of panels for each output.

    Args:
        model: fitted.
        X: `[n, inputs]`.
        y: as for `JetRegressor.fit`; NaN is left out.
        dydx: as for `JetRegressor.fit`, or None.

    Raises:
        ValueError: the labels do not fit what the model predicts.
    """
    columns = [("y", _fitting("y", y, model.predict(X), model.n_outputs_))]
    if dydx is not None:
        given, predicted = _fitting("dydx", dydx, model.predict_derivatives(X), model.n_outputs_, model.n_features_in_)
        names = _names(model)
        columns += [(f"∂y/∂{name}", (given[..., i], predicted[..., i])) for i, name in enumerate(names)]
    figure, panels = _panels(model.n_outputs_, len(columns))
    for output, row in enumerate(panels):
        for axes, (name, (given, predicted)) in zip(row, columns, strict=True):
            actual, found = given[:, output], predicted[:, output]
            there = ~np.isnan(actual)
            actual, found = actual[there], found[there]
            axes.plot(actual, found, ".", markersize=3)
            if len(actual):
                ends = [min(actual.min(), found.min()), max(actual.max(), found.max())]
                axes.plot(ends, ends, "-", color="black", linewidth=0.8)
            spread = ((actual - actual.mean()) ** 2).sum() if len(actual) else 0.0
            score = f", R² = {1 - ((actual - found) ** 2).sum() / spread:.4f}" if spread > 0 else ""
            axes.set(title=_of(name, output, model) + score, xlabel="actual", ylabel="predicted")
    return figure


def plot_sensitivities(model: JetRegressor, X: ArrayLike, at: ArrayLike | None = None, points: int = 60) -> Figure:
    """What each output does when one input moves and the others stay; below it, the derivative along that input.

    Args:
        model: fitted.
        X: `[n, inputs]`; each input moves over the range that it has here.
        at: where the others stay, `[inputs]`; None: the medians of X.
        points: of each curve.

    Raises:
        ValueError: `at` is not one number for each input, or there are fewer than 2 points.
    """
    check_is_fitted(model, "network_")
    table = np.asarray(X, dtype=np.float64)
    inputs = model.n_features_in_
    if table.ndim != 2 or table.shape[1] != inputs:
        raise ValueError(f"X has shape {list(table.shape)}, expected [n, {inputs}]")
    centre = np.median(table, axis=0) if at is None else np.asarray(at, dtype=np.float64)
    if centre.shape != (inputs,):
        raise ValueError(f"at has shape {list(centre.shape)}, expected [{inputs}], one number for each input")
    if points < 2:
        raise ValueError(f"a curve needs at least 2 points, got {points}")
    names = _names(model)
    figure, panels = _panels(2, inputs)
    for i in range(inputs):
        moved = np.tile(centre, (points, 1))
        moved[:, i] = np.linspace(table[:, i].min(), table[:, i].max(), points)
        values = model.predict(moved).reshape(points, -1)
        slopes = model.predict_derivatives(moved).reshape(points, -1, inputs)[:, :, i]
        for output in range(model.n_outputs_):
            label = f"output {output}" if model.n_outputs_ > 1 else None
            panels[0][i].plot(moved[:, i], values[:, output], label=label)
            panels[1][i].plot(moved[:, i], slopes[:, output], label=label)
        for axes, name in ((panels[0][i], "y"), (panels[1][i], f"∂y/∂{names[i]}")):
            axes.axvline(centre[i], color="black", linewidth=0.8, linestyle=":")
            axes.set(xlabel=names[i], ylabel=name)
    if model.n_outputs_ > 1:
        panels[0][0].legend(frameon=False)
    return figure


def _panels(rows: int, columns: int, width: float = 1.0) -> tuple[Figure, list[list[Axes]]]:
    """A figure without a window or global state, and its panels."""
    figure = Figure(figsize=(SIDE * columns * width, SIDE * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    return figure, [list(row) for row in grid]


def _fitting(name: str, given: ArrayLike, predicted: NDArray, *axes: int) -> tuple[NDArray, NDArray]:
    labels = np.asarray(given, dtype=np.float64)
    if labels.size != predicted.size or len(labels) != len(predicted):
        raise ValueError(
            f"{name} has shape {list(labels.shape)}, the model predicts {list(predicted.shape)} for this X"
        )
    return labels.reshape(-1, *axes), predicted.reshape(-1, *axes)


def _names(model: JetRegressor) -> list[str]:
    known = getattr(model, "feature_names_in_", None)
    return [f"x{i}" for i in range(model.n_features_in_)] if known is None else [str(name) for name in known]


def _of(name: str, output: int, model: JetRegressor) -> str:
    return name if model.n_outputs_ == 1 else f"{name} of output {output}"
