"""The cost (3): written out, its derivatives, its slope along outputs, and targets it refuses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from jetprop import Jet
from jetprop.ode import Cost, one_hot, root_of_slope
from ode.small import F64, batch

COSTS = [Cost(1.0), Cost(mu2=1.0, classes=3), Cost(mu2=1, mu3=0.4, classes=None), Cost(0.7, 1.3, 0.4, 0.2, classes=3)]


def test_it_is_written_out() -> None:
    x, y = batch()
    cost = Cost(0.7, 1.3, 0.4, classes=3)
    total = 0.0
    for k in range(5):
        share = [math.exp(v) for v in x[k, :3].tolist()]
        total += 0.35 * float((x[k] - y[k]).square().sum()) + 0.2 * float(x[k].square().sum())
        total -= 1.3 * math.log(share[k % 3] / sum(share))
    assert float(cost.of_output(x, y)) == pytest.approx(total / 5, rel=1e-13)
    everywhere = Cost(mu2=1.0, classes=None).of_output(x, y)
    assert float(everywhere) == pytest.approx(float(torch.nn.functional.cross_entropy(x, y.argmax(1))), rel=1e-13)
    weights = [torch.ones(4, 2), torch.full((4,), 2.0)]
    assert float(Cost(mu4=3.0).of_parameters(weights, dt=0.5)) == pytest.approx(1.5 * 0.5 * (8 + 16))
    assert float(Cost(mu4=3.0).of_output(x, y)) == 0


@pytest.mark.parametrize("cost", COSTS)
def test_the_adjoint_starts_from_its_derivative(cost) -> None:
    x, y = batch()
    x.requires_grad_()
    (expected,) = torch.autograd.grad(5 * cost.of_output(x, y), x)
    assert torch.allclose(cost.terminal(x, y), expected, rtol=1e-12)


@pytest.mark.parametrize("cost", COSTS)
def test_the_slope_along_outputs_is_that_of_a_jet(cost) -> None:
    (x, y), xi = batch(), torch.randn(5, 6, dtype=F64)
    slope, _ = cost.slope_along(x, xi, y, (0.3, 0.5))
    for eta in (0.0, 0.7, 4.0):
        jet = cost.of_output(Jet.seed(x + eta * xi, xi[None], order=2), y)
        expected = (float(jet.d(0)) + cost.mu4 * (0.3 + 0.5 * eta), float(jet.d(0, 0)) + 0.5 * cost.mu4)
        assert slope(eta) == pytest.approx(expected, rel=1e-12, abs=1e-13)


@pytest.mark.parametrize("cost", COSTS)
def test_the_root_is_the_minimum_on_a_grid(cost) -> None:
    """Along the mean of −λ(T), which descends, and does not suit every class."""
    x, y = batch()
    xi = -cost.terminal(x, y).mean(0).expand_as(x)
    slope, has_root = cost.slope_along(x, xi, y)
    assert has_root
    eta = root_of_slope(slope)
    assert eta is not None
    assert abs(slope(eta)[0]) <= 1e-14 * abs(slope(0.0)[0])
    grid = torch.linspace(0, 2 * eta, 41, dtype=F64)
    values = torch.stack([cost.of_output(x + float(t) * xi, y) for t in grid])
    assert int(values.argmin()) == 20


def test_cross_entropy_that_falls_for_ever_has_no_root() -> None:
    x, y = batch()
    assert not Cost(mu2=1.0, classes=3).slope_along(x, y, y)[1]
    assert Cost(mu2=1.0, mu3=1e-9, classes=3).slope_along(x, y, y)[1]


def test_roots() -> None:
    assert root_of_slope(lambda t: (3 * t - 2, 3.0)) == pytest.approx(2 / 3, rel=1e-15)
    assert root_of_slope(lambda t: (math.atan(t - 40), 1 / (1 + (t - 40) ** 2))) == pytest.approx(40, rel=1e-15)
    assert root_of_slope(lambda t: (t**9 - 1e-9, 9 * t**8)) == pytest.approx(0.1, rel=1e-14)
    for none in (
        lambda t: (1.0 + t, 1.0),  # ascends
        lambda t: (-1.0, 0.0),  # falls for ever
        lambda t: (-1 / (1 + t), 1 / (1 + t) ** 2),  # the same, ever more slowly
        lambda t: (-math.exp(-t), math.exp(-t)),
        lambda t: (math.nan, 1.0),
        lambda t: (-1.0, -1.0),  # concave
        lambda t: (-1.0, 1.0) if t == 0 else (math.nan, math.nan),
    ):
        assert root_of_slope(none) is None


def test_one_hot() -> None:
    assert one_hot(torch.tensor([2, 0]), 4, 3).tolist() == [[0, 0, 1, 0], [1, 0, 0, 0]]
    with pytest.raises(ValueError, match="only 5 components"):
        one_hot(torch.tensor([2]), 5)
    with pytest.raises(ValueError, match="labels lie in 0 … 2"):
        one_hot(torch.tensor([3]), 5, 3)
    with pytest.raises(ValueError, match="labels are integers"):
        one_hot(torch.tensor([1.0]), 5, 3)


def test_targets_that_do_not_suit_are_refused() -> None:
    x, y = batch()
    ce = Cost(mu2=1.0, classes=3)
    ce.check(x, y)
    for wrong in (0.5 * y, 2 * y, torch.zeros_like(y), y + torch.roll(y, 1, 1), torch.roll(y, 3, 1)):
        with pytest.raises(ValueError, match="one-hot in the first 3"):
            ce.check(x, wrong)
    Cost(1.0).check(x, 0.5 * y)
    with pytest.raises(ValueError, match="10 classes, the state has only 6"):
        Cost(mu2=1.0).check(x, y)
    with pytest.raises(ValueError, match="full width of the state"):
        ce.check(x, y[:, :3])
    with pytest.raises(ValueError, match="NaN or infinity"):
        Cost(1.0).check(x, y / 0)
    settings: list[dict[str, Any]] = [{"mu1": -1.0}, {"mu4": math.inf}, {}, {"mu2": 1.0, "classes": 1}]
    for wrong in settings:
        with pytest.raises(ValueError):
            Cost(**wrong)
