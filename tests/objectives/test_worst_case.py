"""The worst perturbation against brute force, and the theory of lyu2015 around it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from jetprop.objectives import dual_norm, worst_perturbation

EXPONENTS = [1, 1.001, 1.5, 2, 3, 50, math.inf]


@pytest.mark.parametrize("p", EXPONENTS)
def test_no_random_perturbation_beats_it(p: float) -> None:
    g = torch.randn(3, 6, dtype=torch.float64)
    best = worst_perturbation(g, p, 0.7)
    torch.testing.assert_close(torch.linalg.vector_norm(best, p, dim=1), torch.full((3,), 0.7, dtype=g.dtype))
    torch.testing.assert_close((best * g).sum(1), 0.7 * dual_norm(g, p))  # Hölder's bound is met
    others = torch.randn(20000, 3, 6, dtype=torch.float64)
    near = best + 0.05 * others[:10000]
    others = torch.cat([others[10000:], near])
    others = 0.7 * others / torch.linalg.vector_norm(others, p, dim=2, keepdim=True)
    assert bool(((others * g).sum(2).amax(0) <= (best * g).sum(1) * (1 + 1e-12)).all())


@pytest.mark.parametrize("p", [1.5, 2, 3])
def test_it_is_the_printed_formula(p: float) -> None:
    g = torch.randn(2, 4, dtype=torch.float64)
    dual = p / (p - 1)
    printed = 0.7 * g.sign() * (g.abs() / torch.linalg.vector_norm(g, dual, dim=1, keepdim=True)) ** (1 / (p - 1))
    torch.testing.assert_close(worst_perturbation(g, p, 0.7), printed)


def test_limits() -> None:
    g = torch.tensor([[1.0, -3.0, 3.0, 0.0], [0.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    assert worst_perturbation(g, 1, 2.0).tolist() == [[0, -2, 0, 0], [0, 0, 0, 0]]  # the first of a tie
    assert worst_perturbation(g, math.inf, 2.0).tolist() == [[2, -2, 2, 0], [0, 0, 0, 0]]
    for p in EXPONENTS:
        assert not worst_perturbation(g, p, 2.0)[1].any() and not worst_perturbation(g, p, 0.0).any()


@given(st.floats(1, 100), st.floats(-30, 30))
def test_scale_of_the_gradient_does_not_matter(p: float, exponent: float) -> None:
    g = torch.tensor([[[1.0, -2.0], [0.5, 0.0]]], dtype=torch.float64)
    scaled = worst_perturbation(10.0**exponent * g, p, 1.0)
    # powers 1/(p − 1) amplify the rounding of the scale
    torch.testing.assert_close(scaled, worst_perturbation(g, p, 1.0), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(("p", "sigma", "said"), [(0.5, 1.0, "in .1"), (2, -1.0, "≥ 0"), (2, math.inf, "finite")])
def test_bad_arguments_are_named(p: float, sigma: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        worst_perturbation(torch.ones(1, 2), p, sigma)


# ---- lyu2015, section II.D, appendix B, section V -------------------------------------------------------------------


def linear_probabilities() -> tuple[Tensor, Tensor, Tensor]:
    """y = W x with positive entries: no curvature of its own, so that only the loss −ln y_l has one."""
    return torch.rand(4, 5, dtype=torch.float64) + 0.1, torch.rand(5, dtype=torch.float64) + 0.1, torch.tensor(2)


def test_lemma_b1() -> None:
    """∇L ∇Lᵀ = J H_L(y) Jᵀ for L = −Σ t_i ln y_i with one t_i = 1."""
    w, x, label = linear_probabilities()
    y = (w @ x).requires_grad_()
    slope = torch.autograd.grad(-y[label].log(), y)[0]
    curvature = torch.autograd.functional.hessian(lambda y: -y[label].log(), y)
    g = w.T @ slope
    torch.testing.assert_close(torch.outer(g, g), w.T @ curvature @ w)  # type: ignore[operator]


def test_second_order_expansion() -> None:
    """(13) to (20): L(x + ε) = L + σ‖g‖ + (σ²/2)‖g‖² + O(σ³), and ‖g‖² is the trace of the Hessian."""
    w, x, label = linear_probabilities()

    def loss(x: Tensor) -> Tensor:
        return -(w @ x)[label].log()

    leaf = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(loss(leaf), leaf)
    norm = dual_norm(g[None], 2)[0]
    torch.testing.assert_close(torch.autograd.functional.hessian(loss, x).trace(), norm**2)  # type: ignore[union-attr]
    remainders = []
    for sigma in (0.02, 0.01):
        moved = loss(x + worst_perturbation(g[None], 2, sigma)[0])
        remainders.append(float(moved - loss(x) - sigma * norm - sigma**2 / 2 * norm**2))
    assert remainders[0] / remainders[1] == pytest.approx(8, rel=0.1)  # a remainder of third order


def test_noise_along_a_direction() -> None:
    """(26) to (29): one direction has the tail of one normal number, whatever the dimension; several add up at most."""
    distance, sigma, draws = 1.0, 0.7, 100_000
    tail = 0.5 * math.erfc(distance / sigma / math.sqrt(2))
    for dimension in (2, 40):
        e = torch.nn.functional.normalize(torch.randn(3, dimension, dtype=torch.float64), dim=1)
        beyond = sigma * torch.randn(draws, dimension, dtype=torch.float64) @ e.T >= distance
        # five standard errors
        assert float(beyond[:, 0].double().mean()) == pytest.approx(tail, abs=5 * math.sqrt(tail / draws))
        assert float(beyond.any(1).double().mean()) <= 3 * tail + 5 * math.sqrt(3 * tail / draws)
