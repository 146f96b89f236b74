"""The discrete adjoint and the gradients: against autograd and finite differences."""

from __future__ import annotations

import copy

import pytest
import torch

from jetprop.ode import ConvolutionalODE, Cost, StandaloneODE, adjoint, cost_and_gradient
from ode.small import F64, batch, model

EVERY_TERM = Cost(0.7, 1.3, 0.4, 0.2, classes=3)


@pytest.mark.parametrize(
    "activation", ["tanh", "relu", "sigmoid", "softplus", "silu", "gelu", "elu", "sin", "identity"]
)
def test_the_adjoint_is_autograd(activation) -> None:
    net, (x, y) = model(activation=activation), batch()
    states = net(x, trajectory=True).unbind(1)
    again = [states[0].detach().requires_grad_()]
    for weight, bias in net.cells():
        again.append(again[-1] + net.dt * net.sigma(net.affine(again[-1], weight, bias)))
    expected = torch.autograd.grad(len(x) * EVERY_TERM.of_output(again[-1], y), again)
    found = adjoint(net, x, EVERY_TERM.terminal(states[-1], y).detach())
    # the same products in another order
    assert torch.allclose(found, torch.stack(expected, 1), rtol=1e-12, atol=1e-12)
    assert torch.equal(adjoint(net, x, found[:, -1], trajectory=False), found[:, 0])


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("cost", [Cost(1.0), Cost(mu2=1.0, mu3=0.4, classes=3), Cost(mu2=1, classes=None), EVERY_TERM])
def test_the_gradient_is_autograd(activation, cost) -> None:
    net, (x, y) = model(activation=activation), batch()
    value, output, gradient = cost_and_gradient(net, x, y, cost)
    expected = cost.of_output(net(x), y) + cost.of_parameters([net.weight, net.bias], net.dt)
    assert value == pytest.approx(float(expected.detach()), rel=1e-13) and torch.allclose(output, net(x), rtol=1e-14)
    by_autograd = torch.autograd.grad(expected, [net.weight, net.bias])
    for g, expected_g in zip(gradient, by_autograd, strict=True):
        assert torch.allclose(net.dt * g, expected_g, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("net", ["convolution", "dopri5"])
def test_the_gradient_of_other_models_is_that_of_finite_differences(net) -> None:
    if net == "dopri5":
        pytest.importorskip("torchdiffeq", reason="the adaptive solver needs torchdiffeq, which is not installed")
        # steps are chosen anew at each point: the solution must be finer than the difference quotient sees
        net, x = model(2, solver="dopri5", rtol=1e-9, atol=1e-11), batch(2)[0]
    else:
        net, x = ConvolutionalODE(2, 3, steps=3, std=0.4, dtype=F64), torch.randn(2, 2, 4, 3, dtype=F64)
    y = torch.randn_like(x)
    cost = Cost(1.0, mu4=0.3)
    _, _, gradient = cost_and_gradient(net, x, y, cost)
    directions = [torch.randn_like(g) for g in gradient]
    slope = net.dt * sum(float((g * d).sum()) for g, d in zip(gradient, directions, strict=True))
    values = {}
    for step in (-2e-3, -1e-3, 1e-3, 2e-3):
        there = copy.deepcopy(net)
        with torch.no_grad():
            for p, d in zip((there.weight, there.bias), directions, strict=True):
                p.add_(d, alpha=step)
        values[step] = cost_and_gradient(there, x, y, cost)[0]
    difference = (8 * (values[1e-3] - values[-1e-3]) - (values[2e-3] - values[-2e-3])) / 12e-3
    # truncation h⁴ = 1e-12 times a fifth derivative; the adaptive solution, with steps chosen anew at each point,
    # errs by some 1e-8, over h
    assert slope == pytest.approx(difference, rel=1e-4 if isinstance(net, StandaloneODE) else 1e-7)


def test_what_the_adjoint_is_not_for() -> None:
    x = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="discrete adjoint"):
        adjoint(StandaloneODE(3, steps=2, solver="dopri5"), x, x)
    with pytest.raises(ValueError, match=r"λ\(T\) is \[2, 3\]"):
        adjoint(StandaloneODE(3, steps=2), x, torch.zeros(1, 3))
