"""Algorithm 1: written out once more, its four formulas, and how it ends where it cannot go on."""

from __future__ import annotations

import copy
import math
from typing import Any, get_args

import pytest
import torch
from scipy.optimize import brentq

from jetprop.ode import Beta, ConvolutionalODE, Status, UnreachableTargetWarning, sensitivity, sobolev, train_batch
from jetprop.ode.conjugate_gradient import BETAS, Memory, conjugate
from ode.small import F64, batch, model

CE = (0.0, 1.0, 0.4, 0.0)


def literal(net, x, y, mu, iterations, smooth):
    """Algorithm 1 with Fletcher-Reeves, from autograd, and B.1's slope by differentiating its cost."""
    mu1, mu2, mu3, mu4 = mu
    dt = net.dt

    def of_output(z):
        ce = -(y[:, :3] * torch.log_softmax(z[:, :3], 1)).sum(1)
        return (mu1 / 2 * (z - y).square().sum(1) + mu2 * ce + mu3 / 2 * z.square().sum(1)).mean()

    def decay(*parameters):
        return mu4 / 2 * dt * sum(p.square().sum() for p in parameters)

    norm_old, d_old = 1.0, None
    for _ in range(iterations):
        cost = of_output(net(x)) + decay(net.weight, net.bias)
        g = [g / dt for g in torch.autograd.grad(cost, [net.weight, net.bias])]
        g = [sobolev(u, net.time) for u in g] if smooth else g
        norm = dt * sum(float(u.square().sum()) for u in g)
        d = [-u for u in g] if d_old is None else [-u + norm / norm_old * v for u, v in zip(g, d_old, strict=True)]
        norm_old, d_old = norm, d
        jet = sensitivity(net, x, None, {"weight": d[0], "bias": d[1]})
        out, xi = jet.value.detach(), jet.d(0).detach()

        def slope(eta, out=out, xi=xi, d=d):
            t = torch.tensor(eta, dtype=F64, requires_grad=True)
            w, b = (p.detach() + t * u for p, u in zip((net.weight, net.bias), d, strict=True))
            return float(torch.autograd.grad(of_output(out + t * xi) + decay(w, b), t)[0])

        eta = brentq(slope, 0, 1e4, xtol=1e-15, rtol=1e-14)  # pyright: ignore[reportArgumentType]
        with torch.no_grad():
            net.weight += eta * d[0]
            net.bias += eta * d[1]


@pytest.mark.parametrize(
    ("mu", "smooth", "activation"),
    [(CE, False, "tanh"), ((1, 0, 0, 1e-3), True, "tanh"), ((0.5, 1, 0.4, 1e-3), False, "relu")],
)
@pytest.mark.filterwarnings("ignore::jetprop.ode.UnreachableTargetWarning")
def test_it_is_algorithm_1(mu, smooth, activation) -> None:
    net, (x, y) = model(activation=activation), batch()
    other = copy.deepcopy(net)
    result = train_batch(net, x, y, mu, iterations=3, sobolev=smooth, classes=3)
    literal(other, x, y, mu, 3, smooth)
    assert (
        result.status is Status.DONE and len(result.costs) == 4 and len(result.step_lengths) == len(result.betas) == 3
    )
    assert result.betas[0] == 0 and result.costs[-1] < result.costs[0]
    # three iterations multiply what roots differ by
    assert torch.allclose(net.weight, other.weight, rtol=1e-9, atol=1e-10)
    assert torch.allclose(net.bias, other.bias, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("metric", [False, True])
def test_all_formulas_agree_on_quadratics_with_exact_search(metric) -> None:
    """½ xᵀHx − bᵀx, with and without a metric; and they end at the minimum after as many steps as unknowns."""
    root = torch.randn(5, 5, dtype=F64)
    h, b = root @ root.T + torch.eye(5, dtype=F64), torch.randn(5, dtype=F64)
    smooth = sobolev(torch.eye(5, dtype=F64), 3.0) if metric else torch.eye(5, dtype=F64)

    def dot(u: Any, v: Any) -> float:
        return float(u[0] @ v[0])

    at, old, steps = torch.randn(5, dtype=F64), None, []
    for _ in range(5):
        slope = h @ at - b
        g = smooth @ slope
        if old is not None:
            steps.append([formula([g], [slope], old, dot) for formula in BETAS.values()])
        (d,), _ = conjugate("fletcher_reeves", [g], [slope], [slope], old, dot)
        at = at - float(d @ slope) / float(d @ h @ d) * d
        old = Memory([g], [slope], [d])
    for betas in steps:
        assert betas == pytest.approx([betas[0]] * 4, rel=1e-7)  # orthogonality is lost a little at every step
    assert torch.allclose(at, torch.linalg.solve(h, b), rtol=1e-8)


@pytest.mark.parametrize("norms", ["l2", "metric"])
@pytest.mark.parametrize("beta", get_args(Beta))
def test_every_formula_trains(beta, norms) -> None:
    net, (x, y) = model(), batch()
    result = train_batch(net, x, y, CE, 6, beta, sobolev=True, classes=3, norms=norms)
    assert result.status is Status.DONE and result.costs[-1] < 0.7 * result.costs[0]
    assert any(result.betas) and min(result.step_lengths) > 0


def test_norms_matter_for_the_sobolev_gradient_only() -> None:
    (x, y), found = batch(), {}
    start = model()
    for smooth in (False, True):
        for norms in ("l2", "metric"):
            net = copy.deepcopy(start)
            train_batch(net, x, y, CE, 3, sobolev=smooth, classes=3, norms=norms)
            found[smooth, norms] = net.weight.detach()
    assert torch.equal(found[False, "l2"], found[False, "metric"])
    assert not torch.allclose(found[True, "l2"], found[True, "metric"])


def test_the_sobolev_gradient_keeps_weights_smooth() -> None:
    start, (x, y), rough = model(steps=30), batch(), {}
    for smooth in (False, True):
        net = copy.deepcopy(start)
        train_batch(net, x, y, CE, 6, sobolev=smooth, classes=3)
        change = net.weight.detach() - start.weight.detach()
        rough[smooth] = float(change.diff(dim=0).norm() / (change - change.mean(0)).norm())
    assert rough[True] < rough[False]


def test_convolutions_train_too() -> None:
    net = ConvolutionalODE(2, 3, time=1.0, steps=4, std=0.3, dtype=F64)
    x = torch.rand(4, 2, 3, 3, dtype=F64)
    result = train_batch(net, x, x.flip(3), (1, 0, 0, 0), 4)
    assert result.status is Status.DONE and result.costs[-1] < result.costs[0]


def test_an_adaptively_solved_model_trains_too() -> None:
    pytest.importorskip("torchdiffeq", reason="the adaptive solver needs torchdiffeq, which is not installed")
    net, (x, y) = model(4, solver="dopri5"), batch()
    result = train_batch(net, x, y, CE, 2, classes=3)
    assert result.status is Status.DONE and result.costs[-1] < result.costs[0]


def weights_of(net) -> list[torch.Tensor]:
    return [p.detach().clone() for p in net.parameters()]


def same(net, kept) -> bool:
    return all(torch.equal(p, k) for p, k in zip(net.parameters(), kept, strict=True))


def test_a_vanishing_direction_is_reported() -> None:
    net, (x, _) = model(), batch()
    kept = weights_of(net)
    result = train_batch(net, x, net(x).detach(), (1, 0, 0, 0), classes=3)
    assert result.status is Status.VANISHING_DIRECTION and same(net, kept)
    assert result.costs == [0.0] and result.step_lengths == []


def test_a_cost_that_is_not_finite_is_reported() -> None:
    net, (x, y) = model(), batch()
    kept = weights_of(net)
    result = train_batch(net, x * torch.nan, y, CE, classes=3)
    assert result.status is Status.NOT_FINITE and same(net, kept) and result.costs == []


def test_a_failed_root_is_reported() -> None:
    """One sample: its own class can win for ever."""
    net, (x, y) = model(), batch(1)
    with torch.no_grad():
        net.weight.zero_()
    kept = weights_of(net)
    result = train_batch(net, x, y, (0, 1, 0, 0), classes=3)
    assert result.status is Status.NO_ROOT and same(net, kept)
    assert len(result.costs) == 1 and math.isfinite(result.costs[0])


@pytest.mark.parametrize("iterations", [1, 4])
def test_a_step_that_ruins_the_cost_is_taken_back(iterations) -> None:
    """A linear equation at rest: weights that reach the targets to first order make 300 cells overflow."""
    net, (x, _) = model(steps=300, activation="identity"), batch()
    with torch.no_grad():
        net.weight.zero_()
        net.bias.zero_()
    y = torch.full_like(x, 1e9)
    kept = weights_of(net)
    result = train_batch(net, x, y, (1, 0, 0, 0), iterations)
    assert result.status is Status.NOT_FINITE, result
    assert result.step_lengths == [] and len(result.costs) == 1 and same(net, kept)


def test_relu_with_targets_below_the_inputs_warns() -> None:
    net, (x, y) = model(activation="relu"), batch()
    with pytest.warns(UnreachableTargetWarning, match="targets lie below their inputs"):
        train_batch(net, x, y, (1, 0, 0, 0), 1, classes=3)
    train_batch(net, -x.abs(), y, (1, 0, 0, 0), 1, classes=3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"x": torch.zeros(5, 4, dtype=F64)}, r"inputs are \[batch, 6\]"),
        ({"x": torch.zeros(0, 6, dtype=F64), "y": torch.zeros(0, 6, dtype=F64)}, "no samples"),
        ({"x": torch.zeros(5, 6)}, "x has dtype torch.float32"),
        ({"y": torch.zeros(5, 6, dtype=F64)}, "one-hot"),
        ({"classes": 10}, "10 classes, the state has only 6"),
        ({"iterations": 0}, "iterations is an integer ≥ 1"),
        ({"beta": "newton"}, "beta is one of fletcher_reeves"),
        ({"norms": "l1"}, 'norms is "l2" or "metric"'),
        ({"length_scale": 0.0}, "length_scale is a finite number > 0"),
        ({"mu": (0, 0, 0, 0)}, "all zero"),
        ({"mu": (1, 0)}, "mu is four numbers"),
        ({"model": torch.nn.Linear(6, 6)}, "ode.ConjugateGradient"),
    ],
)
def test_bad_arguments_are_refused(wrong, message) -> None:
    x, y = batch()
    with pytest.raises(ValueError, match=message):
        train_batch(**{"model": model(), "x": x, "y": y, "classes": 3, **wrong})
