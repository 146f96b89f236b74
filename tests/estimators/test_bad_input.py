"""Bad tables and options are refused at the entrance, with what arrived, what was expected, and what to do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from jetprop.estimators import JetRegressor

N, INPUTS, OUTPUTS = 12, 3, 2
rng = np.random.default_rng(0)
X = rng.normal(size=(N, INPUTS))
W = rng.normal(size=(OUTPUTS, INPUTS))
Y = X @ W.T
G = np.tile(W, (N, 1, 1))
H = np.zeros((N, OUTPUTS, INPUTS, INPUTS))


def put(array: np.ndarray, place, value: float) -> np.ndarray:
    array = array.copy()
    array[place] = value
    return array


NAN, INF = np.nan, np.inf

TABLES = {
    "lengths of y": (dict(y=Y[:-1]), r"X has 12 samples and y has 11"),
    "lengths of dydx": (dict(dydx=G[:-1]), r"dydx has shape \[11, 2, 3\], expected .*12, 2, 3.*X has 12 samples"),
    "lengths of d2ydx2": (dict(d2ydx2=H[:-1]), r"d2ydx2 has shape \[11, 2, 3, 3\]"),
    "outputs and inputs exchanged": (dict(dydx=G.swapaxes(1, 2)), r"try np.swapaxes\(dydx, 1, 2\)"),
    "samples last": (dict(dydx=np.moveaxis(G, 0, 2)), r"try np.moveaxis\(dydx, 2, 0\)"),
    "outputs last": (dict(d2ydx2=np.moveaxis(H, 1, 3)), r"try np.moveaxis\(d2ydx2, -1, 1\)"),
    "axis of outputs left out": (dict(dydx=G[:, 0]), r"dydx has shape \[12, 3\], expected \[n, outputs, inputs\]"),
    "one output": (dict(y=Y[:, 0], dydx=G[:, 0, :2]), r"or \[n, inputs\] = \[12, 3\] as there is one output"),
    "scalar dydx": (dict(dydx=3.0), r"dydx has shape \[\]"),
    "dydx no numbers": (dict(dydx="slopes"), r"dydx must be an array of numbers"),
    "all partials missing": (dict(dydx=np.full_like(G, NAN)), r"every entry of dydx is NaN"),
    "all second partials missing": (dict(d2ydx2=np.full_like(H, NAN)), r"every entry of d2ydx2 is NaN"),
    "infinite partial": (dict(dydx=put(G, (1, 1, 1), INF)), r"dydx contains infinity in 1 places"),
    "infinite value": (dict(y=put(Y, (1, 1), INF)), r"y contains infinity"),
    "infinite input": (dict(X=put(X, (1, 1), INF)), r"X contains infinity"),
    "missing input": (dict(X=put(X, (1, 1), NAN)), r"X contains NaN"),
    "missing value without derivatives": (dict(y=put(Y, (1, 1), NAN)), r"y contains NaN in 1 places.*drop"),
    "an output without values": (dict(y=put(Y, (slice(None), 1), NAN), dydx=G), r"output 1 of y has no value"),
    "a sample without labels": (dict(y=put(Y, 4, NAN), dydx=put(G, 4, NAN)), r"sample 4 has no label"),
    "not symmetric": (dict(d2ydx2=put(H, (2, 1, 0, 1), 1.0)), r"not symmetric: at sample 2, output 1, entry \(0, 1\)"),
    "one sample": (dict(X=X[:1], y=Y[:1]), r"1 sample.* minimum of 2"),
    "three axes of y": (dict(y=G), r"y"),
    "no y": (dict(y=None), r"requires y to be passed"),
    "negative weight": (dict(sample_weight=put(np.ones(N), 3, -1)), r"sample_weight must be numbers ≥ 0, got -1"),
    "weight NaN": (dict(sample_weight=put(np.ones(N), 3, NAN)), r"sample_weight must be numbers ≥ 0"),
    "weights of wrong length": (dict(sample_weight=np.ones(5)), r"sample_weight has shape \(5,\), expected \(12,\)"),
    "all weights zero": (dict(sample_weight=np.zeros(N)), r"every sample_weight is zero"),
    "weight of nothing": (dict(dydx_weight=1.0), r"dydx_weight was given without dydx"),
    "weights that do not broadcast": (dict(dydx=G, dydx_weight=np.ones(5)), r"does not broadcast"),
    "negative weight of a partial": (dict(dydx=G, dydx_weight=-G), r"dydx_weight must be numbers ≥ 0"),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_bad_table_is_refused(name: str) -> None:
    given, message = TABLES[name]
    arguments = {"X": X, "y": Y, **given}
    with pytest.raises(ValueError, match=message):
        JetRegressor().fit(**arguments)


OPTIONS = {
    "hidden": ["big", (8, 0), (8.5,), 7],
    "activation": ["sinn", 3],
    "order_weights": [(-1, 1), (0, 0, 0), 1.0, (float("nan"), 1)],
    "solver": ["sgd", None],
    "max_iter": [0, 2.5, True],
    "max_seconds": [0, -1, float("inf")],
    "clock": ["sun"],
    "tol": [-1e-3, 1.0],
    "n_iter_no_change": [0],
    "early_stopping": ["yes"],
    "validation_fraction": [0, 1, 2],
    "alpha": [-1, float("nan")],
    "learning_rate": [0, "fast"],
    "batch_size": [0, 1.5],
    "standardize": ["columns"],
    "network": [3],
    "dtype": ["float16"],
    "compile": ["auto"],
    "verbose": [None],
    "random_state": ["dice"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in OPTIONS.items() for value in values])
def test_a_bad_option_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match="activation|random|seed" if name in ("activation", "random_state") else name):
        JetRegressor(**{name: value}).fit(X, Y)


def test_every_option_has_a_bad_value_here() -> None:
    assert set(OPTIONS) == set(JetRegressor().get_params())


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError, match="hiden"):
        JetRegressor(hiden=(8,))  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="hiden"):
        JetRegressor().set_params(hiden=(8,))


def test_too_few_samples_to_hold_out() -> None:
    with pytest.raises(ValueError, match="lower validation_fraction"):
        JetRegressor(early_stopping=True, validation_fraction=0.9).fit(X[:2], Y[:2])


def test_predictions_of_other_tables_are_refused() -> None:
    model = JetRegressor(max_iter=2, random_state=0).fit(X, Y, G)
    for order in (-1, 1.0, True, "first"):
        with pytest.raises(ValueError, match="order is an integer ≥ 0"):
            model.predict_derivatives(X, order)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="3 features"):
        model.predict_derivatives(X[:, :2])
    with pytest.raises(ValueError, match=r"derivatives have shape \[12, 3, 2\], expected \[12, 2, 3\]"):
        model.score_derivatives(X, G.swapaxes(1, 2))
    with pytest.raises(ValueError, match="no R² of derivatives"):
        model.score_derivatives(X, np.full_like(G, NAN))


def test_a_cost_that_explodes_is_told() -> None:
    with pytest.raises(ValueError, match="diverged at iteration"):
        JetRegressor(solver="adam", learning_rate=1e300, activation="silu", random_state=0).fit(X, Y, G)
