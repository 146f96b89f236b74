"""The sensitivity problem: finite differences, the literal recursion, the Jacobian both ways, residual networks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from jetprop import functional_call
from jetprop.ode import ConvolutionalODE, jacobian, propagation, sensitivity
from ode.small import F64, batch, model


class Block(nn.Module):
    """A residual block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width).double()

    def forward(self, x):
        return x + 0.3 * torch.tanh(self.inner(x))


def residual() -> nn.Sequential:
    return nn.Sequential(*[Block(6) for _ in range(4)])


def test_it_is_the_printed_equation() -> None:
    """(2), stepped by Euler's method, for inputs, weights and biases together."""
    net, (x, _) = model(), batch()
    xi, omega, beta = torch.randn_like(x), torch.randn_like(net.weight), torch.randn_like(net.bias)
    states, xis = [x], [xi]
    for w, b, dw, db in zip(net.weight, net.bias, omega, beta, strict=True):
        z = states[-1] @ w.T + b
        slope = 1 / torch.cosh(z).square()
        xis.append(xis[-1] + net.dt * slope * (states[-1] @ dw.T + db + xis[-1] @ w.T))
        states.append(states[-1] + net.dt * torch.tanh(z))
    found = sensitivity(net, x, xi, {"weight": omega, "bias": beta}, trajectory=True)
    assert torch.allclose(found.value, torch.stack(states, 1), rtol=1e-12, atol=1e-13)
    assert torch.allclose(found.d(0), torch.stack(xis, 1), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("what", ["inputs", "parameters", "both"])
@pytest.mark.parametrize("net", ["ode", "residual"])
@torch.no_grad()
def test_remainders_shrink_at_order_two(net, what) -> None:
    net, (x, _) = model() if net == "ode" else residual(), batch()
    xi = torch.randn_like(x) if what != "parameters" else None
    directions = {n: torch.randn_like(p) for n, p in net.named_parameters()} if what != "inputs" else {}
    found = sensitivity(net, x, xi, directions)
    assert torch.equal(sensitivity(net, x, xi, directions, trajectory=True).d(0)[:, -1], found.d(0))
    own = dict(net.named_parameters())

    def remainder(step: float) -> float:
        moved = {n: own[n] + step * d for n, d in directions.items()}
        there = functional_call(net, moved, x if xi is None else x + step * xi)
        return float((there - found.value - step * found.d(0)).norm())

    assert remainder(1e-3) / remainder(5e-4) == pytest.approx(4, abs=0.2)


def test_the_whole_jacobian_is_its_rows() -> None:
    net, (x, _) = model(), batch()
    whole = jacobian(net, x)
    for b in range(5):
        by_autograd = torch.autograd.functional.jacobian(lambda i: net(i[None])[0], x[b])
        assert torch.allclose(whole[b], by_autograd, rtol=1e-12, atol=1e-13)
    # by the adjoint; of other models by autograd
    assert torch.allclose(jacobian(net, x, rows=[4, 0]), whole[:, [4, 0]], rtol=1e-12, atol=1e-13)
    assert jacobian(net, x, rows=[]).shape == (5, 0, 6)
    for other, inputs in ((residual(), x), (ConvolutionalODE(2, steps=2, std=0.4, dtype=F64), x.reshape(5, 2, 3, 1))):
        whole = jacobian(other, inputs)
        assert whole.shape == (5, 6, 6)
        assert torch.allclose(jacobian(other, inputs, rows=range(6)), whole, rtol=1e-12, atol=1e-13)
    with pytest.raises(ValueError, match="0 … 5, got 6"):
        jacobian(net, x, rows=[6])


@pytest.mark.parametrize("net", ["ode", "residual"])
def test_the_estimate_meets_the_measurement_for_small_perturbations(net) -> None:
    net, (x, _) = model() if net == "ode" else residual(), batch()
    xi = torch.randn_like(x)
    large, small = propagation(net, x, 1e-2 * xi), propagation(net, x, 1e-3 * xi)
    assert large.estimated.shape == (5, 8 if len(list(net.parameters())) == 2 else 5)
    assert torch.allclose(large.estimated[:, 0], 1e-2 * xi.norm(dim=1) / x.norm(dim=1))
    assert torch.allclose(small.measured, small.estimated, rtol=2e-2)
    assert torch.allclose(large.error[:, 1:] / small.error[:, 1:], torch.tensor(10.0, dtype=F64), rtol=0.1)


def test_bad_directions_are_refused() -> None:
    net, (x, _) = model(), batch()
    with pytest.raises(ValueError, match="give a direction"):
        sensitivity(net, x)
    with pytest.raises(ValueError, match="xi has the shape of x"):
        sensitivity(net, x, x[:2])
    with pytest.raises(KeyError, match="no parameter 'wait'"):
        sensitivity(net, x, parameters={"wait": x})
    with pytest.raises(ValueError, match="direction of 'bias'"):
        sensitivity(net, x, parameters={"bias": x})
    with pytest.raises(ValueError, match="has no trajectory"):
        sensitivity(nn.Linear(6, 6).double(), x, x, trajectory=True)
    with pytest.raises(ValueError, match="block 1 turns states"):
        sensitivity(nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 2)).double(), x, x, trajectory=True)
