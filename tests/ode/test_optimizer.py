"""The optimizer: Algorithm 1 on neural ODEs, exact on quadratics, any model, and how steps end that fail."""

from __future__ import annotations

import copy
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from jetprop.ode import Beta, ConjugateGradient, Cost, Status, train_batch
from ode.small import F64, batch, model


def test_with_a_cost_it_is_train_batch() -> None:
    net, (x, y) = model(), batch()
    other, cost = copy.deepcopy(net), Cost(mu2=1.0, mu3=0.4, classes=3)
    result = train_batch(net, x, y, (0, 1, 0.4, 0), 4, "polak_ribiere", classes=3)
    optimizer = ConjugateGradient(other, "polak_ribiere", cost=lambda out: cost.of_output(out, y))
    costs = [float(optimizer.step(lambda: other(x))) for _ in range(4)]
    assert costs == pytest.approx(result.costs[:4], rel=1e-10)
    assert torch.allclose(net.weight, other.weight, rtol=1e-9, atol=1e-10)
    # its gradient is Euclidean, 1/dt times smaller; the step is as much longer
    assert optimizer.step_length * net.dt == pytest.approx(result.step_lengths[-1], rel=1e-8)


@pytest.mark.parametrize("with_cost", [False, True])
def test_all_formulas_take_the_same_steps_on_a_quadratic(with_cost) -> None:
    x, y = torch.randn(20, 4, dtype=F64), torch.randn(20, 1, dtype=F64)
    start = nn.Linear(4, 1).double()
    seen = []
    for beta in get_args(Beta):
        net = copy.deepcopy(start)
        cost = (lambda out: F.mse_loss(out, y)) if with_cost else None
        optimizer = ConjugateGradient(net, beta, cost)
        for _ in range(5):
            optimizer.step((lambda: net(x)) if with_cost else (lambda: F.mse_loss(net(x), y)))  # noqa: B023
            assert optimizer.status is Status.DONE and optimizer.step_length > 0
            seen.append(net.weight.detach().clone())
        solution = torch.linalg.lstsq(torch.cat([x, torch.ones(20, 1, dtype=F64)], 1), y).solution
        assert torch.allclose(net.weight[0], solution[:4, 0], rtol=1e-7)
    for step in range(5):
        for beta in range(1, 4):
            assert torch.allclose(seen[step], seen[5 * beta + step], rtol=1e-6, atol=1e-9)


def test_any_model_learns_and_its_step_is_newtons() -> None:
    net = nn.Sequential(nn.Conv1d(1, 3, 3), nn.GELU(), nn.Flatten(), nn.LayerNorm(12), nn.Linear(12, 2)).double()
    x, y = torch.randn(8, 1, 6, dtype=F64), torch.arange(8) % 2
    optimizer = ConjugateGradient(net, "polak_ribiere", restart_every=6)
    before = next(net.parameters()).detach().clone()

    def closure():
        return F.cross_entropy(net(x), y)

    loss = closure()
    g = torch.autograd.grad(loss, list(net.parameters()), create_graph=True)
    along = torch.stack([(u * u.detach()).sum() for u in g]).sum()
    curvature = torch.autograd.grad(along, list(net.parameters()))
    newton = float(along.detach()) / sum(float((c * u).sum().detach()) for c, u in zip(curvature, g, strict=True))
    assert float(optimizer.step(closure)) == pytest.approx(float(loss.detach()))
    assert optimizer.status is Status.DONE and optimizer.step_length == pytest.approx(newton, rel=1e-10)
    moved = next(net.parameters()).detach() - before
    assert torch.allclose(moved, -newton * g[0].detach(), rtol=1e-9)


def test_restarts_go_along_the_gradient() -> None:
    start, (x, y) = model(), batch()
    after = {}
    for every in (None, 1, 2, 3):
        net = copy.deepcopy(start)
        optimizer = ConjugateGradient(net, restart_every=every)
        for step in range(3):
            (g,) = torch.autograd.grad(F.mse_loss(net(x), y), net.weight)
            before = net.weight.detach().clone()
            optimizer.step(lambda: F.mse_loss(net(x), y))  # noqa: B023
            steepest = torch.allclose(net.weight - before, -optimizer.step_length * g, rtol=1e-8, atol=1e-12)
            assert steepest == (step == 0 if every is None else step % every == 0), (every, step)
        after[every] = net.weight.detach()
    assert torch.equal(after[None], after[3])


def test_its_state_can_be_saved() -> None:
    net, (x, y) = model(), batch()

    def closure(of):
        return lambda: F.mse_loss(of(x), y)

    optimizer = ConjugateGradient(net)
    optimizer.step(closure(net))
    twin = copy.deepcopy(net)
    resumed = ConjugateGradient(twin)
    resumed.load_state_dict(optimizer.state_dict())
    optimizer.step(closure(net))
    resumed.step(closure(twin))
    assert torch.equal(net.weight, twin.weight)


def test_steps_that_fail_leave_the_weights() -> None:
    x, y = torch.randn(6, 3, dtype=F64), torch.randn(6, 2, dtype=F64)
    net = nn.Linear(3, 2).double()
    kept = [p.detach().clone() for p in net.parameters()]
    optimizer = ConjugateGradient(net)
    cases = {
        Status.NOT_FINITE: lambda: F.mse_loss(net(x), y) * torch.nan,
        Status.VANISHING_DIRECTION: lambda: 0 * net(x).sum(),
        Status.NO_ROOT: lambda: -F.mse_loss(net(x), y),
    }
    for status, closure in cases.items():
        optimizer.step(closure)
        assert optimizer.status is status and optimizer.step_length == 0
        assert all(torch.equal(p, k) for p, k in zip(net.parameters(), kept, strict=True))


def test_a_step_that_ruins_the_loss_is_taken_back() -> None:
    net, one = nn.Linear(1, 1, bias=False).double(), torch.ones(1, 1, dtype=F64)
    with torch.no_grad():
        net.weight.fill_(1.0)
    optimizer = ConjugateGradient(net)  # Newton's step leads to 0.5, where the root has no value
    optimizer.step(lambda: (3 * (net(one) - 0.5).square() + 1e-9 * torch.sqrt(net(one) - 0.9)).sum())
    assert optimizer.status is Status.NOT_FINITE and float(net.weight.detach()) == 1.0


def test_misuse_is_refused() -> None:
    net, x = nn.Linear(3, 1), torch.randn(4, 3)
    optimizer = ConjugateGradient(net)
    with pytest.raises(TypeError, match="needs a closure"):
        optimizer.step()
    with pytest.raises(ValueError, match="scalar, got"):
        optimizer.step(lambda: net(x))
    with pytest.raises(ValueError, match="depends on no parameter"):
        optimizer.step(lambda: net(x).detach().sum())
    with pytest.raises(TypeError, match="without the jets"):
        weight = net.weight
        optimizer.step(lambda: F.linear(x, weight).square().sum())
    with pytest.raises(ValueError, match="beta is one of"):
        ConjugateGradient(net, "newton")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="restart_every"):
        ConjugateGradient(net, restart_every=0)
    with pytest.raises(ValueError, match="nothing to train"):
        ConjugateGradient(nn.ReLU())
    with pytest.raises(ValueError, match="one group"):
        optimizer.add_param_group({"params": [torch.zeros(1)]})
