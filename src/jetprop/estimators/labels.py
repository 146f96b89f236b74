"""What a table of data says: values, first and second derivatives, their weights; checked where they come in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_array

__all__ = ["Labels"]

Array = NDArray[np.float64]

NAMES = {1: "dydx", 2: "d2ydx2"}
SHAPES = {1: "[n, outputs, inputs]", 2: "[n, outputs, inputs, inputs]"}
ASYMMETRY = 1e-4
"""Largest difference of ∂²y/∂x_i∂x_j and ∂²y/∂x_j∂x_i, relative to the largest of all, that is not refused."""


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels by order of derivative, NaN where there is none, and what each weighs.

    Args:
        orders: order k to `[n, outputs]` for k = 0, `[n, outputs, inputs]` for 1, `[n, outputs, inputs, inputs]` for 2;
            orders of which nothing is known are absent.
        weights: of the same shapes, ≥ 0; zero where a label is missing.
        flat: whether y came as `[n]`.
    """

    orders: dict[int, Array]
    weights: dict[int, Array]
    flat: bool

    @classmethod
    def of(
        cls,
        X: Array,
        y: ArrayLike | None,
        dydx: ArrayLike | None = None,
        d2ydx2: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        dydx_weight: ArrayLike | None = None,
        d2ydx2_weight: ArrayLike | None = None,
    ) -> Labels:
        """Check everything against X, `[n, inputs]`; the arguments are those of `JetRegressor.fit`.

        Raises:
            ValueError: a length or shape does not fit, an axis is out of order, something is infinite, nothing is known
                of an output or of a sample, or second derivatives are not symmetric.
        """
        n, inputs = X.shape
        values, flat = _values(y, n)
        outputs = values.shape[1]
        orders = {0: values}
        scales = {0: np.ones_like(values)}
        for order, given, weight in ((1, dydx, dydx_weight), (2, d2ydx2, d2ydx2_weight)):
            name = NAMES[order]
            if given is None:
                if weight is not None:
                    raise ValueError(f"{name}_weight was given without {name}; give both, or drop the weight")
                continue
            shape = (n, outputs, *[inputs] * order)
            raw = _numbers(name, given)
            orders[order] = _shaped(name, raw, shape, order)
            scales[order] = _weight(f"{name}_weight", weight, raw.shape, shape)
        if 2 in orders:
            orders[2], scales[2] = _symmetric(orders[2], scales[2])
        point = _sample_weight(sample_weight, n)
        known = {k: ~np.isnan(v) for k, v in orders.items()}
        weights = {
            k: np.where(known[k], scales[k] * point.reshape(n, *[1] * (v.ndim - 1)), 0.0) for k, v in orders.items()
        }
        _refuse_nothing(known, weights)
        return cls(orders, weights, flat)

    def __getitem__(self, points: Any) -> Labels:
        """The labels of some points."""
        return Labels(
            {k: v[points] for k, v in self.orders.items()}, {k: w[points] for k, w in self.weights.items()}, self.flat
        )

    def __len__(self) -> int:
        return len(self.orders[0])

    def merged(self, X: Array) -> tuple[Array, Labels]:
        """Equal samples as one with the sum of their weights, samples of weight zero dropped, in an order of their own.

        So neither the order of the samples nor the choice between repeating and weighing them changes a fit by one bit.

        Args:
            X: `[n, inputs]`.

        Returns:
            The samples that are left, and their labels.
        """
        n = len(self)
        weighs = np.logical_or.reduce([w.reshape(n, -1).any(1) for w in self.weights.values()])
        X, labels = X[weighs], self[weighs]
        rows = np.concatenate([X, *(v.reshape(len(X), -1) for v in labels.orders.values())], axis=1) + 0.0
        keys = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.shape[1] * rows.itemsize)))[:, 0]
        _, first, place = np.unique(keys, return_index=True, return_inverse=True)
        weights = {k: np.zeros((len(first), *w.shape[1:])) for k, w in labels.weights.items()}
        for k, w in labels.weights.items():
            np.add.at(weights[k], place, w)
        return X[first], Labels({k: v[first] for k, v in labels.orders.items()}, weights, self.flat)

    def used(self, order_weights: Sequence[float]) -> Labels:
        """Without the derivatives of orders that weigh nothing.

        Raises:
            ValueError: there are labels of order 2 and no third weight, or nothing is weighed.
        """
        for order in self.orders:
            if order >= len(order_weights):
                raise ValueError(
                    f"order_weights {tuple(order_weights)} has no weight for labels of order {order}; give one"
                )
        if not any(order_weights[order] for order in self.orders):
            raise ValueError(
                f"order_weights {tuple(order_weights)} weigh no label that came, so nothing would be fitted"
            )
        kept = [k for k in self.orders if k == 0 or order_weights[k]]
        return Labels({k: self.orders[k] for k in kept}, {k: self.weights[k] for k in kept}, self.flat)


def _numbers(name: str, given: ArrayLike) -> Array:
    try:
        array = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array of numbers, NaN where a label is missing: {error}") from error
    if np.isinf(array).any():
        raise ValueError(f"{name} contains infinity in {int(np.isinf(array).sum())} places; use NaN for missing labels")
    return array


def _values(y: ArrayLike | None, n: int) -> tuple[Array, bool]:
    if y is None:
        raise ValueError("JetRegressor requires y to be passed, but the target y is None")
    options: dict[str, Any] = {"dtype": np.float64, "ensure_all_finite": "allow-nan", "input_name": "y"}
    values: Any = check_array(y, ensure_2d=False, estimator="JetRegressor", **options)
    if values.ndim not in (1, 2):
        raise ValueError(f"y must be [n] or [n, outputs], got an array of shape {values.shape}")
    if len(values) != n:
        raise ValueError(f"X has {n} samples and y has {len(values)}; both need the same number")
    return (values[:, None], True) if values.ndim == 1 else (values, False)


def _shaped(name: str, array: Array, shape: tuple[int, ...], order: int) -> Array:
    """`array` as `[n, outputs, inputs, …]`; the axis of outputs may be left out where there is one output."""
    n, outputs, inputs = shape[:3]
    if array.shape == shape:
        return array
    if outputs == 1 and array.shape == (n, *shape[2:]):
        return array[:, None]
    expected = f"{SHAPES[order]} = {list(shape)}"
    if outputs == 1:
        expected += f", or [n{', inputs' * order}] = {[n, *shape[2:]]} as there is one output"
    hint = ""
    if array.ndim > 0 and array.shape[0] != n and n in array.shape[1:]:
        hint = f"; the samples seem to stand on another axis: try np.moveaxis({name}, {array.shape.index(n)}, 0)"
    elif order == 1 and array.shape == (n, inputs, outputs):
        hint = f"; the axes of outputs and inputs seem to be exchanged: try np.swapaxes({name}, 1, 2)"
    elif order == 2 and array.shape == (n, inputs, inputs, outputs):
        hint = f"; the axis of outputs seems to stand last: try np.moveaxis({name}, -1, 1)"
    elif array.ndim > 0 and array.shape[1:] in (shape[1:], shape[2:]):
        hint = f"; X has {n} samples and {name} has {array.shape[0]}"
    raise ValueError(f"{name} has shape {list(array.shape)}, expected {expected}{hint}")


def _weight(name: str, given: ArrayLike | None, raw: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    if given is None:
        return np.ones(shape)
    weight = _numbers(name, given)
    try:
        full = np.broadcast_to(weight, raw).reshape(shape)
    except ValueError as error:
        raise ValueError(
            f"{name} has shape {list(weight.shape)}, which does not broadcast to that of the labels, {list(raw)}"
        ) from error
    if not (full >= 0).all():
        raise ValueError(f"{name} must be numbers ≥ 0, got {float(np.nanmin(full)):g} (or NaN) among them")
    return full


def _sample_weight(given: ArrayLike | None, n: int) -> Array:
    if given is None:
        return np.ones(n)
    weight = _numbers("sample_weight", given)
    weight = np.full(n, float(weight)) if weight.ndim == 0 else weight
    if weight.ndim != 1:
        raise ValueError(f"Sample weights must be 1D array or scalar, got {weight.ndim}D array of shape {weight.shape}")
    if weight.shape != (n,):
        raise ValueError(f"sample_weight has shape {weight.shape}, expected ({n},), one for each sample")
    if not (weight >= 0).all():
        raise ValueError(f"sample_weight must be numbers ≥ 0, got {float(np.nanmin(weight)):g} (or NaN) among them")
    if not weight.any():
        raise ValueError("every sample_weight is zero, so nothing would be trained")
    return weight


def _symmetric(second: Array, weights: Array) -> tuple[Array, Array]:
    """∂²y/∂x_i∂x_j where it or ∂²y/∂x_j∂x_i is known; the weight of a pair stands in both places."""
    flipped, flipped_weights = np.swapaxes(second, -1, -2), np.swapaxes(weights, -1, -2)
    both = ~np.isnan(second) & ~np.isnan(flipped)
    gap = np.abs(np.where(both, second - flipped, 0.0))
    largest = float(np.abs(np.where(both, second, 0.0)).max(initial=0.0))
    if gap.max(initial=0.0) > ASYMMETRY * largest:
        n, a, i, j = (int(p) for p in np.unravel_index(int(gap.argmax()), gap.shape))
        raise ValueError(
            f"d2ydx2 is not symmetric: at sample {n}, output {a}, entry ({i}, {j}) is {second[n, a, i, j]:g} and "
            f"({j}, {i}) is {second[n, a, j, i]:g}. The axes are [n, outputs, inputs, inputs]; put NaN where only one "
            "of the two is known"
        )
    filled = np.where(np.isnan(second), flipped, np.where(both, (second + flipped) / 2, second))
    return filled, np.where(np.isnan(second), flipped_weights, weights)


def _refuse_nothing(known: dict[int, NDArray[np.bool_]], weights: dict[int, Array]) -> None:
    n = len(known[0])
    for order, there in known.items():
        if order and not there.any():
            raise ValueError(f"every entry of {NAMES[order]} is NaN; leave it out (None), or give at least one label")
    if len(known) == 1 and not known[0].all():
        raise ValueError(
            f"Input y contains NaN in {int((~known[0]).sum())} places; values may be missing only where derivatives "
            "are given (dydx, d2ydx2): drop these samples"
        )
    usable = (weights[0] > 0).any(0)
    if not usable.all():
        raise ValueError(
            f"output {int((~usable).argmax())} of y has no value at all (of weight > 0); derivatives leave its "
            "constant open: give at least one value"
        )
    bare = ~np.logical_or.reduce([there.reshape(n, -1).any(1) for there in known.values()])
    if bare.any():
        raise ValueError(
            f"sample {int(bare.argmax())} has no label, neither a value nor a derivative ({int(bare.sum())} such "
            "samples); drop them"
        )
