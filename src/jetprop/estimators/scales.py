"""Standardised inputs and outputs, and the chain rule that carries derivatives there and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jetprop.estimators.labels import Labels

__all__ = ["Scales"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scales:
    """Standard units, and derivatives in them.

        x = m + s·ξ,   y = M + S·η
        ∂η/∂ξ_i = s_i/S ∂y/∂x_i,   ∂²η/∂ξ_i∂ξ_j = s_i s_j/S ∂²y/∂x_i∂x_j

    Args:
        x_mean: m, `[inputs]`.
        x_scale: s > 0, `[inputs]`.
        y_mean: M, `[outputs]`.
        y_scale: S > 0, `[outputs]`.
    """

    x_mean: Array
    x_scale: Array
    y_mean: Array
    y_scale: Array

    @classmethod
    def of(cls, X: Array, labels: Labels, inputs: bool = True) -> Scales:
        """Weighted means and standard deviations (divided by the total weight).

        A constant column of X keeps its unit, s = 1. Where the values of an output do not vary (or only one is known),
        S is the root mean square of ∂y/∂ξ instead, or 1.

        Args:
            X: `[n, inputs]`.
            labels: of the same points.
            inputs: whether to standardise X; if not, m = 0 and s = 1.
        """
        if inputs:
            point = np.max([w.reshape(len(w), -1).max(1) for w in labels.weights.values()], axis=0)
            x_mean = np.average(X, axis=0, weights=point)
            x_scale = np.sqrt(np.average((X - x_mean) ** 2, axis=0, weights=point))
            x_scale = np.where(x_scale > 1e-12 * np.abs(X).max(axis=0, initial=0.0), x_scale, 1.0)
        else:
            x_mean, x_scale = np.zeros(X.shape[1]), np.ones(X.shape[1])
        y, w = labels.orders[0], labels.weights[0]
        y = np.where(w > 0, y, 0.0)
        y_mean = (w * y).sum(0) / w.sum(0)
        y_scale = np.sqrt((w * (y - y_mean) ** 2).sum(0) / w.sum(0))
        flat = y_scale <= 1e-12 * np.abs(y).max(0)
        if flat.any() and 1 in labels.orders:
            slopes, v = labels.orders[1] * x_scale, labels.weights[1]
            slopes = np.where(v > 0, slopes, 0.0)
            y_scale = np.where(flat, np.sqrt((v * slopes**2).sum((0, 2)) / np.maximum(v.sum((0, 2)), 1e-300)), y_scale)
            flat = y_scale == 0
        return cls(x_mean, x_scale, y_mean, np.where(flat, 1.0, y_scale))

    def inputs(self, X: Array) -> Array:
        """ξ of x."""
        return (X - self.x_mean) / self.x_scale

    def labels(self, labels: Labels) -> Labels:
        """Labels in standard units; weights as they were."""
        values = {0: (labels.orders[0] - self.y_mean) / self.y_scale}
        values |= {k: v * self._factor(k) for k, v in labels.orders.items() if k}
        return Labels(values, labels.weights, labels.flat)

    def outputs(self, standard: Array, order: int) -> Array:
        """A derivative of the given order, `[n, outputs, inputs, …]`, or the value, in the units of the data."""
        return standard * self.y_scale + self.y_mean if order == 0 else standard / self._factor(order)

    def _factor(self, order: int) -> Array:
        """∂ᵏη/∂ξᵏ = factor · ∂ᵏy/∂xᵏ, `[outputs, inputs, …]`."""
        inputs = self.x_scale
        factor = 1 / self.y_scale
        for _ in range(order):
            factor = factor[..., None] * inputs
        return factor
