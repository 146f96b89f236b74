"""Tables that can be fitted, and are probably not what was meant: they warn."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from jetprop.estimators.labels import Labels

__all__ = ["warn_of_constants", "warn_of_opposite_slopes"]

Array = NDArray[np.float64]

POINTS, FEWEST = 200, 8
"""Points that are compared with their nearest neighbours at most, and at least."""

OPPOSITE = -0.5
"""Correlation of the steps that slopes foretell with those that values make, below which slopes are suspected."""


def warn_of_constants(X: Array, labels: Labels) -> None:
    """A column that does not vary, and along which no derivative is known, teaches nothing."""
    constant = np.ptp(X, axis=0) == 0
    for order, weights in labels.weights.items():
        if order:
            constant &= ~(weights > 0).reshape(-1, weights.shape[-1]).any(0)
    if constant.any():
        which = ", ".join(str(i) for i in np.flatnonzero(constant)[:6])
        warnings.warn(
            f"columns of X without variation: {which}; what is predicted away from their values, and along them, is "
            "arbitrary. Drop them, or give derivatives along them",
            UserWarning,
            stacklevel=3,
        )


def warn_of_opposite_slopes(inputs: Array, labels: Labels) -> None:
    """Slopes that run against the values between neighbours: forces are −dE/dx, and dydx is +dE/dx.

    Compares η_j − η_i with ½ (∂η_i + ∂η_j)·(ξ_j − ξ_i) for nearest neighbours i, j, in standard units.
    """
    if 1 not in labels.orders:
        return
    values, slopes = labels.orders[0], labels.orders[1]
    for output in range(values.shape[1]):
        there = np.flatnonzero(~np.isnan(values[:, output]) & ~np.isnan(slopes[:, output]).any(1))
        there = there[:: max(1, len(there) // POINTS)][:POINTS]
        if len(there) < FEWEST:
            continue
        x, y, g = inputs[there], values[there, output], slopes[there, output]
        distance = ((x[:, None] - x) ** 2).sum(-1)
        distance[distance == 0] = np.inf
        near = distance.argmin(1)
        foretold, made = ((g + g[near]) * (x[near] - x)).sum(1) / 2, y[near] - y
        size = np.sqrt((foretold**2).sum() * (made**2).sum())
        if size > 0 and (foretold * made).sum() < OPPOSITE * size:
            warnings.warn(
                f"dydx of output {output} runs against the values: between neighbouring samples y falls where dydx "
                "says that it rises. Forces are -dE/dx; give dydx = -forces",
                UserWarning,
                stacklevel=3,
            )
