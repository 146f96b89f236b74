"""Saving, loading, and looking at a fitted estimator."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from torch import nn

from jetprop.estimators import JetRegressor, plot_actual_by_predicted, plot_convergence, plot_sensitivities
from jetprop.training import CheckpointError
from jetprop.training.checkpoint import save_tensors

rng = np.random.default_rng(0)
X = rng.uniform(-1, 1, (30, 2))
Y = np.column_stack([np.sin(X.sum(1)), X[:, 0] * X[:, 1]])
G = np.stack([np.cos(X.sum(1))[:, None] * [1, 1], X[:, ::-1]], axis=1)


def network(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, outputs))


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("own", [None, network])
def test_what_is_loaded_predicts_the_same(tmp_path, flat, own) -> None:
    options = {"network": own, "alpha": np.float64(1e-3), "order_weights": [1, 0.5, 0], "max_iter": np.int64(5)}
    model = JetRegressor(random_state=0, early_stopping=True, **options)
    model.fit(X, Y[:, 0], G[:, 0]) if flat else model.fit(X, Y, G)
    path = tmp_path / "model.safetensors"
    model.save(path)
    loaded = JetRegressor.load(path, network=own)
    for order in (0, 1, 2):
        np.testing.assert_array_equal(loaded.predict_derivatives(X, order), model.predict_derivatives(X, order))
    assert loaded.history_ == model.history_
    assert (loaded.status_, loaded.n_iter_, loaded.alpha) == (model.status_, model.n_iter_, 1e-3)
    loaded.fit(X, Y, G)
    with pytest.raises(CheckpointError, match="network"):
        JetRegressor.load(path, network=network if own is None else None)


def test_files_that_cannot_be_read(tmp_path) -> None:
    with pytest.raises(NotFittedError):
        JetRegressor().save(tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="cannot be read"):
        JetRegressor.load(tmp_path / "none.safetensors")
    save_tensors(tmp_path / "other.safetensors", {}, {"step": 3})
    with pytest.raises(CheckpointError, match="expected a JetRegressor"):
        JetRegressor.load(tmp_path / "other.safetensors")
    JetRegressor(network=network, max_iter=2).fit(X, Y).save(tmp_path / "own.safetensors")
    with pytest.raises(CheckpointError, match="another network"):
        JetRegressor.load(tmp_path / "own.safetensors", network=lambda i, o: nn.Linear(i, o))


def test_plots(tmp_path) -> None:
    model = JetRegressor(random_state=0, early_stopping=True, max_iter=5).fit(X, Y, G)
    costs = plot_convergence(model).axes[0]
    assert [line.get_label() for line in costs.lines] == ["cost", "held out"]
    labels = Y.copy()
    labels[3] = np.nan
    actual = plot_actual_by_predicted(model, X, labels, G)
    assert len(actual.axes) == 6
    assert np.size(actual.axes[0].lines[0].get_xdata()) == 29
    assert "∂y/∂x1 of output 1, R² = " in actual.axes[5].get_title()
    profile = plot_sensitivities(model, X, at=[0.1, 0.2], points=11)
    curve = profile.axes[1].lines[0]
    moved = np.column_stack([np.full(11, 0.1), np.linspace(X[:, 1].min(), X[:, 1].max(), 11)])
    np.testing.assert_allclose(np.asarray(curve.get_ydata()), model.predict(moved)[:, 0])
    slope = profile.axes[3].lines[1]
    np.testing.assert_allclose(np.asarray(slope.get_ydata()), model.predict_derivatives(moved)[:, 1, 1])
    profile.savefig(tmp_path / "profile.png")
    single = JetRegressor(random_state=0, max_iter=5).fit(X, Y[:, 0])
    assert len(plot_actual_by_predicted(single, X, Y[:, 0], G[:, 0]).axes) == 3
    assert len(plot_sensitivities(single, X).axes) == 4


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda m: plot_actual_by_predicted(m, X, Y[:, 0]), r"y has shape \[30\], the model predicts \[30, 2\]"),
        (lambda m: plot_actual_by_predicted(m, X, Y, G[:, :1]), r"dydx has shape \[30, 1, 2\]"),
        (lambda m: plot_sensitivities(m, X, at=[0.0]), r"at has shape \[1\], expected \[2\]"),
        (lambda m: plot_sensitivities(m, X[:, :1]), r"X has shape \[30, 1\]"),
        (lambda m: plot_sensitivities(m, X, points=1), "at least 2 points"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, message) -> None:
    with pytest.raises(ValueError, match=message):
        draw(JetRegressor(random_state=0, max_iter=2).fit(X, Y, G))
