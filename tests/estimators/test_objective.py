"""The cost against a literal transcription over nested reverse-mode derivatives, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jetprop.estimators.labels import Labels
from jetprop.estimators.network import start, wavenumber
from jetprop.estimators.objective import FLOOR, Objective
from jetprop.estimators.scales import Scales

N, INPUTS, OUTPUTS = 14, 3, 2
SHAPES = {0: (N, OUTPUTS), 1: (N, OUTPUTS, INPUTS), 2: (N, OUTPUTS, INPUTS, INPUTS)}


def table(seed: int):
    rng = np.random.default_rng(seed)
    orders = {k: rng.normal(size=shape) * [1, 5, 30][k] for k, shape in SHAPES.items()}
    orders[2] = orders[2] + orders[2].swapaxes(2, 3)
    orders[1][:, 1, 2] = 1e-3 * orders[1][:, 1, 2]  # under the floor
    orders[0][3:6] = np.nan
    orders[1][7:9] = np.nan
    orders[1][:, 0, 1] = np.nan
    orders[2][5:] = np.nan
    orders[2][:, :, 0, 0] = np.nan
    orders[2][2, 0, 0, 1] = orders[2][2, 0, 1, 0] = np.nan
    x = rng.normal(size=(N, INPUTS))
    point, partial = rng.uniform(0, 2, N), rng.uniform(0, 1, SHAPES[1])
    point[12] = 0
    return x, orders, point, partial


def derivatives(model, x: torch.Tensor) -> dict[int, np.ndarray]:
    """By nested reverse mode, one entry at a time."""
    out = {k: np.zeros(shape) for k, shape in SHAPES.items()}
    for n in range(N):
        for a in range(OUTPUTS):

            def f(u, a=a):
                return model(u[None])[0, a]

            out[0][n, a] = float(f(x[n]).detach())
            out[1][n, a] = np.asarray(torch.autograd.functional.jacobian(f, x[n]))
            out[2][n, a] = np.asarray(torch.autograd.functional.hessian(f, x[n]))
    return out


def literal(found, orders, point, partial, weights) -> float:
    total = 0.0
    for k, c in enumerate(weights):
        squares, sizes = {}, {}
        for place in np.ndindex(*SHAPES[k][1:]):
            w = point * (partial[(slice(None), *place)] if k == 1 else 1.0)
            label = orders[k][(slice(None), *place)]
            there = ~np.isnan(label) & (w > 0)
            if there.any():
                error = found[k][(slice(None), *place)] - label
                squares[place] = (w * error**2)[there].sum() / w[there].sum()
                sizes[place] = (w * label**2)[there].sum() / w[there].sum()
        terms = []
        for place, square in squares.items():
            mean = np.mean([s for p, s in sizes.items() if p[0] == place[0]])
            scale = 1.0 if k == 0 else max(sizes[place], FLOOR**2 * mean)
            if k < 2 or place[1] <= place[2]:
                terms.append(square / scale)
        total += c * np.mean(terms)
    return total


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (0.5, 2.0, 0.1), (1.0, 0.0, 3.0)])
def test_the_cost_is_what_it_says(seed, weights) -> None:
    x, orders, point, partial = table(seed)
    labels = Labels.of(x, orders[0], orders[1], orders[2], point, partial)
    model = start(INPUTS, (7, 5), OUTPUTS, "tanh", 2.0, seed).double()
    expected = literal(derivatives(model, torch.tensor(x)), orders, point, partial, weights)
    used = labels.used(weights)
    objective = Objective.of(x, used, weights, np.random.RandomState(0), torch.float64)
    assert objective.cost(model).item() == pytest.approx(expected, rel=1e-9)
    merged = used.merged(x)
    objective = Objective.of(*merged, weights, np.random.RandomState(0), torch.float64)
    assert objective.cost(model).item() == pytest.approx(expected, rel=1e-9)


def test_parts_and_batches_estimate_the_whole() -> None:
    x, orders, point, partial = table(0)
    labels = Labels.of(x, orders[0], orders[1], orders[2], point, partial)
    model = start(INPUTS, (7, 5), OUTPUTS, "tanh", 2.0, 0).double()
    objective = Objective.of(x, labels, (1, 1, 1), np.random.RandomState(0), torch.float64)
    batches = list(objective.batches(3, torch.Generator().manual_seed(0)))
    assert len(batches) == 3
    assert all(len(batch) < len(objective) for batch in batches)
    assert objective.part(1.0).cost(model).item() == pytest.approx(objective.cost(model).item())
    even = Objective(tuple(group.take(slice(0, len(group) // 2 * 2)) for group in objective.groups))
    halves = [batch.cost(model).item() for batch in even.batches(2, torch.Generator().manual_seed(0))]
    assert np.mean(halves) == pytest.approx(even.cost(model).item())


def test_only_rows_with_labels_are_carried() -> None:
    x, orders, point, partial = table(0)
    labels = Labels.of(x, orders[0], orders[1], orders[2], point, partial)
    objective = Objective.of(x, labels, (1, 1, 1), np.random.RandomState(0), torch.float64)
    assert [len(group.inputs.basis) for group in objective.groups] == [1, 4, 9]  # values; slopes; all but (0, 0)
    only = np.full(SHAPES[1], np.nan)
    only[:4, :, 1] = 1.0
    labels = Labels.of(x, np.zeros(SHAPES[0]), only)
    groups = Objective.of(x, labels, (1, 1, 1), np.random.RandomState(0), torch.float64).groups
    assert [(len(g.inputs.basis), len(g)) for g in groups] == [(1, 10), (2, 4)]


def test_scales_follow_the_chain_rule() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 2)) * [2, 30] + [1, 100]
    y = np.column_stack([x[:, 0] ** 2 * x[:, 1]])
    g = np.stack([2 * x[:, 0] * x[:, 1], x[:, 0] ** 2], axis=1)[:, None]
    labels = Labels.of(x, y, g)
    scales = Scales.of(x, labels)
    standard = scales.labels(labels)
    assert np.allclose([standard.orders[0].mean(), standard.orders[0].std()], [0, 1])
    step = 1e-6
    for i in range(2):
        moved = scales.inputs(x) + step * np.eye(2)[i]
        raw = moved * scales.x_scale + scales.x_mean
        slope = ((raw[:, 0] ** 2 * raw[:, 1] - scales.y_mean) / scales.y_scale - standard.orders[0][:, 0]) / step
        np.testing.assert_allclose(standard.orders[1][:, 0, i], slope, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(scales.outputs(standard.orders[1], 1), g)
    np.testing.assert_allclose(scales.outputs(standard.orders[0], 0), y)


def test_scales_without_variation() -> None:
    x = np.column_stack([np.full(5, 3.0), np.arange(5.0)])
    flat = Labels.of(x, np.full(5, 7.0))
    assert Scales.of(x, flat).y_scale.tolist() == [1.0]
    assert Scales.of(x, flat).x_scale[0] == 1.0
    sloped = Labels.of(x, np.array([1.0, *[np.nan] * 4]), np.tile([0.0, 2.0], (5, 1)))
    assert Scales.of(x, sloped).y_scale == pytest.approx(2 * x[:, 1].std() / 2**0.5)


def test_wavenumber_of_a_wave() -> None:
    x = np.random.default_rng(0).normal(size=(4000, 3))
    k = np.array([3.0, 0.0, 4.0])
    y, g = np.sqrt(2) * np.sin(x @ k), np.sqrt(2) * np.cos(x @ k)[:, None] * k
    assert wavenumber(Labels.of(x, y, g)) == pytest.approx(5, rel=0.05)
    g[:, 1] = np.nan
    assert wavenumber(Labels.of(x, y)) == 1
