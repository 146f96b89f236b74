"""The model: literal Euler steps, jets through both solvers, orders of convergence, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from jetprop import Basis, Jet, functional_call
from jetprop.ode import ConvolutionalODE, StandaloneODE
from ode.small import F64, batch, model

ADAPTIVE = {"solver": "dopri5", "rtol": 1e-10, "atol": 1e-12}


def needs_torchdiffeq() -> None:
    pytest.importorskip("torchdiffeq", reason="the adaptive solver needs torchdiffeq, which is not installed")


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_euler_is_written_out(activation) -> None:
    net, (x, _) = model(activation=activation), batch()
    states = [x]
    for weight, bias in zip(net.weight, net.bias, strict=True):
        states.append(states[-1] + 1.5 / 7 * getattr(torch, activation)(states[-1] @ weight.T + bias))
    assert torch.allclose(net(x), states[-1], rtol=1e-13)
    assert torch.allclose(net(x, trajectory=True), torch.stack(states, 1), rtol=1e-13)


def test_a_convolution_of_one_pixel_kernels_is_the_dense_network_at_each_pixel() -> None:
    dense = model(width=2)
    conv = ConvolutionalODE(2, 1, time=1.5, steps=7, dtype=F64)
    conv.load_state_dict({"weight": dense.weight[..., None, None], "bias": dense.bias})
    image = torch.randn(3, 2, 4, 5, dtype=F64)
    pixels = dense(image.movedim(1, -1).reshape(-1, 2)).reshape(3, 4, 5, 2).movedim(-1, 1)
    assert torch.allclose(conv(image), pixels, rtol=1e-13)
    assert ConvolutionalODE(2, 3, steps=2)(image.float(), trajectory=True).shape == (3, 3, 2, 4, 5)


@pytest.mark.parametrize("solver", ["euler", "dopri5"])
@pytest.mark.parametrize("trajectory", [False, True])
def test_jets_flow_through_it(solver, trajectory) -> None:
    """Against nested reverse mode, along inputs (order 2)."""
    if solver == "dopri5":
        needs_torchdiffeq()
    net, (x, _) = model(steps=3, width=2, solver=solver), batch(2, 2)
    jet = net(Jet.seed(x, order=2), trajectory)
    assert torch.allclose(jet.value, net(x, trajectory), rtol=1e-14, atol=1e-14)

    def summed(inputs):
        return net(inputs[None], trajectory).flatten()

    for b in range(1 if trajectory else 2):
        # dopri5 chooses one sequence of steps for a batch: it is compared with batches of one
        jet = net(Jet.seed(x[b : b + 1], order=2), trajectory)
        first = torch.autograd.functional.jacobian(summed, x[b])
        assert torch.allclose(jet.first.flatten(1).T, first, rtol=1e-11, atol=1e-12)
        last = torch.as_tensor(torch.autograd.functional.hessian(lambda i: summed(i)[-1], x[b]))
        assert torch.allclose(jet.d(0, 1).flatten()[-1], last[0, 1], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("solver", ["euler", "dopri5"])
def test_jets_for_parameters_and_inputs_at_once(solver) -> None:
    if solver == "dopri5":
        needs_torchdiffeq()
    net, (x, _) = model(steps=3, solver=solver), batch(1)
    omega, beta, xi = torch.randn_like(net.weight), torch.randn_like(net.bias), torch.randn_like(x)
    jets = {"weight": Jet.seed(net.weight, omega[None]), "bias": Jet.seed(net.bias, beta[None])}
    for start, moved in ((x, 0.0), (Jet.seed(x, xi[None]), 1.0)):
        found = functional_call(net, jets, (start, True))
        w, b, inputs = net.weight.detach(), net.bias.detach(), x.clone()
        out = functional_call(net, {"weight": w.requires_grad_(), "bias": b.requires_grad_()}, inputs.requires_grad_())
        for a in (0, 5):
            g = torch.autograd.grad(out[0, a], [w, b, inputs], retain_graph=True)
            slope = (g[0] * omega).sum() + (g[1] * beta).sum() + moved * (g[2] * xi).sum()
            assert torch.allclose(found.d(0)[0, -1, a], slope, rtol=1e-11)
        assert torch.allclose(found.d(0)[:, 0], moved * xi)


A, B = torch.randn(2, 3, 3, dtype=F64, generator=torch.Generator().manual_seed(3))


def weights(t):
    return A * np.cos(t) + B * np.sin(2 * t), (A[0] * t**2 - B[1]) / 2


def smooth(steps: int, **options) -> StandaloneODE:
    """Weights that are values of smooth functions of t at the left ends of the cells."""
    net = StandaloneODE(3, time=2.0, steps=steps, dtype=F64, **options)
    for cell, (w, b) in enumerate(zip(net.weight, net.bias, strict=True)):
        w.copy_(weights(cell * net.dt)[0])
        b.copy_(weights(cell * net.dt)[1])
    return net


@torch.no_grad()
def test_euler_converges_at_order_one_and_interpolated_weights_at_order_two() -> None:
    """To the equation with the smooth weights themselves, solved by scipy."""
    x = torch.randn(4, 3, dtype=F64)

    def velocity(t, state):
        w, b = weights(t)
        return np.tanh(w.numpy() @ state + b.numpy())

    ends = [solve_ivp(velocity, (0, 2), start, method="DOP853", rtol=1e-11, atol=1e-13).y[:, -1] for start in x.numpy()]
    exact = torch.from_numpy(np.stack(ends))
    errors = [float((smooth(steps)(x) - exact).abs().max()) for steps in (100, 200, 400)]
    rates = [math.log2(errors[i] / errors[i + 1]) for i in range(2)]
    assert rates == pytest.approx([1, 1], abs=0.05), errors
    needs_torchdiffeq()
    adaptive = [float((smooth(s, solver="dopri5", rtol=1e-7, atol=1e-9)(x) - exact).abs().max()) for s in (40, 80)]
    assert math.log2(adaptive[0] / adaptive[1]) == pytest.approx(2, abs=0.25), adaptive
    assert adaptive[1] < errors[2]
    loose = [float((smooth(40, solver="dopri5", rtol=r, atol=r)(x) - exact).abs().max()) for r in (1e-2, 1e-7)]
    assert loose[1] < loose[0] / 3


def test_a_linear_equation_is_the_matrix_exponential() -> None:
    needs_torchdiffeq()
    net = StandaloneODE(3, time=1.3, steps=4, activation="identity", std=0, dtype=F64, **ADAPTIVE)
    a = torch.randn(3, 3, dtype=F64)
    with torch.no_grad():
        net.weight.copy_(a)
    x = torch.randn(5, 3, dtype=F64)
    assert torch.allclose(net(x), x @ torch.linalg.matrix_exp(1.3 * a).T, rtol=1e-8)
    ends = net(x, trajectory=True)[:, 2]
    assert torch.allclose(ends, x @ torch.linalg.matrix_exp(0.65 * a).T, rtol=1e-7, atol=1e-9)


def test_a_state_that_explodes_is_said_so() -> None:
    needs_torchdiffeq()
    net = StandaloneODE(2, steps=2, activation="identity", std=0, dtype=F64, solver="dopri5")
    with torch.no_grad():
        net.weight.fill_(torch.inf)
    with pytest.raises(RuntimeError, match="adaptive solver failed"):
        net(torch.ones(1, 2, dtype=F64))


def test_order_two_of_a_laplacian_basis_too() -> None:
    net, (x, _) = model(steps=3, width=2), batch(2, 2)
    full, trace = net(Jet.seed(x, order=2)), net(Jet.seed(x, basis=Basis.laplacian(2)))
    assert torch.allclose(trace.rows[-1], full.d(0, 0) + full.d(1, 1), rtol=1e-12)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"width": 0}, "width is an integer"),
        ({"time": 0.0}, "time is a finite number > 0"),
        ({"time": -1.0}, "time is a finite number > 0"),
        ({"time": math.nan}, "time is a finite number > 0"),
        ({"steps": 1}, "steps is an integer ≥ 2"),
        ({"steps": 2.5}, "steps is an integer ≥ 2"),
        ({"activation": "tan"}, "activation is one of tanh"),
        ({"solver": "rk4"}, 'solver is "euler" or "dopri5"'),
        ({"rtol": 0.0}, "rtol is a finite number > 0"),
        ({"std": -1.0}, "std"),
    ],
)
def test_bad_settings_are_refused(wrong, message) -> None:
    with pytest.raises(ValueError, match=message):
        StandaloneODE(**{"width": 3, **wrong})


def test_inputs_of_another_width_are_refused() -> None:
    for shape in ((4, 5), (4, 3, 1), (3,)):
        with pytest.raises(ValueError, match=r"inputs are \[batch, 3\]"):
            StandaloneODE(3, steps=2)(torch.zeros(shape))
    with pytest.raises(ValueError, match=r"inputs are \[batch, 2, rows"):
        ConvolutionalODE(2, steps=2)(torch.zeros(4, 3, 5, 5))
    with pytest.raises(ValueError, match="kernel is odd"):
        ConvolutionalODE(2, 4)
