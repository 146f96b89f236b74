"""JetRegressor: scikit-learn's own contract, and what it learns from derivatives."""

from __future__ import annotations

import io
import pickle
import warnings
from contextlib import redirect_stderr

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator
from torch import nn

import jetprop
from jetprop.estimators import JetRegressor


def waves(n: int = 80, inputs: int = 2, seed: int = 0):
    """Two outputs of different size with closed-form derivatives, on inputs of different units."""
    unit = 10.0 ** np.arange(inputs)
    u = np.random.default_rng(seed).uniform(-1, 1, (n, inputs))
    w = np.stack([np.linspace(1, 2, inputs), np.linspace(-1, 0.5, inputs)])
    phase = u @ w.T
    y = np.stack([5 + np.sin(phase[:, 0]), 300 * np.cos(phase[:, 1])], axis=1)
    slope = np.stack([np.cos(phase[:, 0]), -300 * np.sin(phase[:, 1])], axis=1)
    bend = np.stack([-np.sin(phase[:, 0]), -300 * np.cos(phase[:, 1])], axis=1)
    g = w / unit
    return u * unit, y, slope[:, :, None] * g, bend[:, :, None, None] * g[:, :, None] * g[:, None, :]


def fresh(model: JetRegressor) -> JetRegressor:
    return JetRegressor(**model.get_params())


@pytest.mark.parametrize("kwargs", [{}, {"early_stopping": True}, {"solver": "adam", "max_iter": 40}])
def test_scikit_learn_finds_no_fault(kwargs) -> None:
    found = check_estimator(JetRegressor(hidden=(16, 16), **kwargs), on_fail=None, on_skip=None)
    assert [f"{r['check_name']}: {r['exception']!r}" for r in found if r["status"] == "failed"] == []
    assert sum(r["status"] == "passed" for r in found) > 40


def test_the_package_names_it() -> None:
    assert jetprop.JetRegressor is JetRegressor


def test_derivatives_help_and_are_predicted() -> None:
    x, y, g, h = waves(30)
    xt, yt, gt, ht = waves(200, seed=1)
    bare = JetRegressor(random_state=0).fit(x, y)
    first = JetRegressor(random_state=0).fit(x, y, g)
    second = JetRegressor(random_state=0).fit(x, y, g, h)
    assert 1 - second.score_derivatives(xt, ht, order=2) < 0.5 * (1 - bare.score_derivatives(xt, ht, order=2))
    assert first.score(xt, yt) > 0.999
    assert first.score_derivatives(xt, gt) > 0.995
    assert second.score_derivatives(xt, ht, order=2) > 0.99
    assert first.predict_derivatives(xt).shape == (200, 2, 2)
    assert second.predict_derivatives(xt, 3).shape == (200, 2, 2, 2, 2)
    np.testing.assert_array_equal(first.predict_derivatives(xt, 0), first.predict(xt))


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_predicted_derivatives_are_those_of_the_prediction(order: int) -> None:
    x, y, g, _ = waves(40, inputs=3)
    model = JetRegressor(hidden=(8, 8), random_state=0, max_iter=30).fit(x, y, g)
    below, step = model.predict_derivatives(x[:5], order - 1), 1e-5 * np.array([1.0, 10, 100])
    found = model.predict_derivatives(x[:5], order)
    for i in range(3):
        e = np.zeros(3)
        e[i] = step[i]
        upper, lower = (model.predict_derivatives(x[:5] + s * e, order - 1) for s in (1, -1))
        central = (upper - lower) / (2 * step[i])
        size = np.abs(found[..., i]).max()
        np.testing.assert_allclose(found[..., i], central, atol=1e-6 * size, rtol=1e-5)
    assert below.ndim + 1 == found.ndim


def test_one_output_may_leave_its_axis_out() -> None:
    x, y, g, h = waves(25)
    model = JetRegressor(random_state=0, max_iter=20)
    flat = model.fit(x, y[:, 0], g[:, 0], h[:, 0])
    assert flat.predict_derivatives(x).shape == (25, 2)
    expected = flat.predict(x)
    wide = fresh(model).fit(x, y[:, :1], g[:, :1], h[:, :1])
    assert wide.predict_derivatives(x, 2).shape == (25, 1, 2, 2)
    np.testing.assert_array_equal(wide.predict(x)[:, 0], expected)


def test_missing_labels() -> None:
    x, y, g, _ = waves(60)
    xt, yt, gt, _ = waves(200, seed=1)
    y, g = y.copy(), g.copy()
    y[10:] = np.nan  # most samples have slopes only
    g[:5] = np.nan  # some have values only
    g[20:, 1, 0] = np.nan
    model = JetRegressor(random_state=0).fit(x, y, g)
    assert model.score(xt, yt) > 0.99
    assert model.score_derivatives(xt, gt) > 0.99
    assert np.isfinite(model.score_derivatives(x, g))


def test_one_of_a_mixed_pair_is_enough() -> None:
    x, y, g, h = waves(30)
    half = h.copy()
    half[..., 1, 0] = np.nan
    whole, other = (JetRegressor(random_state=0, max_iter=20).fit(x, y, g, second) for second in (h, half))
    np.testing.assert_array_equal(whole.predict(x), other.predict(x))


def test_units_do_not_matter() -> None:
    x, y, g, h = waves(40)
    a, b = 1024.0, 0.0625
    model = JetRegressor(random_state=0, max_iter=20)
    one = model.fit(x, y, g, h).predict_derivatives(x, 2)
    two = fresh(model).fit(a * x + 3, b * y - 1, b / a * g, b / a**2 * h).predict_derivatives(a * x + 3, 2)
    np.testing.assert_allclose(two, b / a**2 * one, rtol=1e-4, atol=1e-6 * np.abs(b / a**2 * one).max())


def test_weights_repeat_and_remove() -> None:
    x, y, g, _ = waves(20)
    times = np.random.default_rng(0).integers(0, 3, 20)
    model = JetRegressor(random_state=0, max_iter=40)
    weighted = model.fit(x, y, g, sample_weight=times).predict(x)
    repeated = fresh(model).fit(x.repeat(times, 0), y.repeat(times, 0), g.repeat(times, 0)).predict(x)
    np.testing.assert_array_equal(weighted, repeated)
    wrong = g.copy()
    wrong[3, 1, 0] = 1e6
    ones = np.ones_like(g)
    ones[3, 1, 0] = 0
    missing = np.where(ones > 0, g, np.nan)
    ignored = fresh(model).fit(x, y, wrong, dydx_weight=ones).predict(x)
    np.testing.assert_allclose(ignored, fresh(model).fit(x, y, missing).predict(x), rtol=1e-6)


def test_orders_without_weight_are_not_used() -> None:
    x, y, g, _ = waves(20)
    model = JetRegressor(random_state=0, max_iter=20, order_weights=(1, 0, 0))
    np.testing.assert_array_equal(model.fit(x, y, g).predict(x), fresh(model).fit(x, y).predict(x))
    with pytest.raises(ValueError, match="has no weight for labels of order 1"):
        fresh(model).set_params(order_weights=(1.0,)).fit(x, y, g)


def test_grid_search_and_pipeline() -> None:
    x, y, g, _ = waves(36)
    search = GridSearchCV(JetRegressor(random_state=0, max_iter=60), {"alpha": [1e-6, 10.0]}, cv=KFold(3))
    search.fit(x, y, dydx=g)  # scikit-learn cuts dydx into folds with X
    assert search.best_params_ == {"alpha": 1e-6}
    assert search.best_estimator_.predict_derivatives(x).shape == g.shape
    line = make_pipeline(FunctionTransformer(), JetRegressor(random_state=0, max_iter=60))
    line.fit(x, y, jetregressor__dydx=g)
    np.testing.assert_array_equal(line.predict(x), JetRegressor(random_state=0, max_iter=60).fit(x, y, g).predict(x))


def test_the_same_seed_gives_the_same_model_and_torch_is_left_alone() -> None:
    x, y, g, _ = waves(20)
    before = torch.get_rng_state()
    one, two, other = (JetRegressor(random_state=s, max_iter=10).fit(x, y, g).predict(x) for s in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
def test_early_stopping_keeps_the_best(solver) -> None:
    x, y, g, _ = waves(60)
    noise = np.random.default_rng(0).normal(size=y.shape) * y.std(0)
    model = JetRegressor(random_state=0, early_stopping=True, solver=solver, n_iter_no_change=5).fit(x, y + noise, g)
    held = [entry["held_out"] for entry in model.history_]
    assert model.status_ == "early_stopped" or len(held) == model.max_iter
    assert model.n_iter_ == len(held)
    assert min(held) < held[0]


def test_limits_are_kept() -> None:
    x, y, g, _ = waves(600)
    timed = JetRegressor(random_state=0, max_seconds=0.05, max_iter=10**6, tol=0.0).fit(x, y, g)
    assert timed.status_ == "max_seconds"
    assert timed.history_[-1]["seconds"] < 5
    short = JetRegressor(random_state=0, max_iter=3, clock="cpu").fit(x[:20], y[:20])
    assert (short.status_, short.n_iter_) == ("max_iter", 3)
    assert JetRegressor(random_state=0, tol=0.5, n_iter_no_change=1).fit(x[:20], y[:20]).status_ == "converged"


def test_large_tables_begin_with_a_part() -> None:
    x, y, g, _ = waves(8000)
    model = JetRegressor(random_state=0, max_iter=5).fit(x, y, g)
    assert sorted({entry["fraction"] for entry in model.history_}) == [1 / 16, 1 / 4, 1]


def test_a_network_of_your_own() -> None:
    x, y, g, _ = waves(40)

    def network(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(nn.Linear(inputs, 16), nn.SiLU(), nn.Linear(16, outputs))

    model = JetRegressor(network=network, standardize=False, random_state=0).fit(x / [1, 10], y, g * [1, 10])
    assert model.scales_.x_scale.tolist() == [1, 1]
    assert model.score(x / [1, 10], y) > 0.99
    for maker, fault in [
        (lambda i, o: 3, "returned int"),
        (lambda i, o: nn.Linear(i, o + 1), r"returns \[2, 3\]"),
        (lambda i, o: nn.Linear(i + 1, o), "fails on a tensor"),
        (lambda i, o: nn.Flatten(), "no parameters"),
    ]:
        with pytest.raises(ValueError, match=fault):
            JetRegressor(network=maker).fit(x, y)


def test_pickle() -> None:
    x, y, g, _ = waves(20)
    model = JetRegressor(random_state=0, max_iter=5).fit(x, y, g)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(x), model.predict(x))  # noqa: S301


def test_the_bar_shows_the_cost() -> None:
    x, y, g, _ = waves(20)
    shown = io.StringIO()
    with redirect_stderr(shown):
        JetRegressor(random_state=0, max_iter=5, verbose=True, early_stopping=True, max_seconds=60).fit(x, y, g)
    assert "held out" in shown.getvalue()


def test_kernels_are_left_as_they_were() -> None:
    from jetprop.jets import compilation

    before = compilation()["mode"]
    x, y, g, _ = waves(20)
    JetRegressor(random_state=0, max_iter=2).fit(x, y, g)
    assert compilation()["mode"] == before
    eager = JetRegressor(random_state=0, max_iter=2).fit(x, y, g).predict(x)
    compiled = JetRegressor(random_state=0, max_iter=2, compile=True).fit(x, y, g).predict(x)
    np.testing.assert_allclose(compiled, eager, rtol=1e-6)


def test_forces_of_the_wrong_sign_and_constant_columns_warn() -> None:
    x, y, g, _ = waves(60)
    with pytest.warns(UserWarning, match="dydx = -forces"):
        JetRegressor(max_iter=2).fit(x, y, -g)
    still = np.column_stack([x, np.full(60, 7.0)])
    with pytest.warns(UserWarning, match="without variation: 2"):
        model = JetRegressor(max_iter=2).fit(still, y)
    assert np.isfinite(model.predict(still)).all()
    along = np.concatenate([g, np.ones((60, 2, 1))], axis=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        JetRegressor(max_iter=2).fit(still, y, along)
        JetRegressor(max_iter=2).fit(x[:20], np.full(20, 3.0), np.zeros((20, 2)))
