"""Penalties on the predictions' rows against Jacobians by reverse mode."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from jetprop.objectives import JacobianPenalty, PredictionIBP, TangentPropagation, cross_entropy
from objectives.small_nets import assert_same, convolutional, gradients, images, linear_loss, perceptron, vectors


def tangents(x: Tensor) -> Tensor:
    return torch.stack([x.roll(1, -1), x.square(), -x])


def jacobian(model: nn.Module, x: Tensor) -> Tensor:
    """∇ₓp, `[batch, classes, …]`, with a graph."""
    leaf = x.clone().requires_grad_()
    outputs = model(leaf).sum(0)
    return torch.stack([torch.autograd.grad(o, leaf, create_graph=True)[0] for o in outputs], 1)


def of_directions(model: nn.Module, x: Tensor, t: Tensor, r: int) -> Tensor:
    rows = torch.einsum("bai,tbi->tba", jacobian(model, x).flatten(2), t.flatten(2))
    return rows.abs().pow(r).sum((0, 2)).mean() / r


@pytest.mark.parametrize("norm", [1, 2])
def test_tangent_propagation(norm: int) -> None:
    x, labels = vectors()
    model, penalty = perceptron(), TangentPropagation(tangents, norm)
    expected = of_directions(model, x, tangents(x), norm)
    found = penalty(model, x, labels)
    torch.testing.assert_close(found, expected)
    assert_same(gradients(found, model), gradients(expected, model))
    total = penalty.fused(0.3)(model, x, labels)
    expected = cross_entropy(model(x), labels).mean() + 0.3 * of_directions(model, x, tangents(x), norm)
    torch.testing.assert_close(total, expected)
    assert_same(gradients(total, model), gradients(expected, model))


@pytest.mark.parametrize("norm", [1, 2])
def test_prediction_ibp_exact(norm: int) -> None:
    x, labels = vectors()
    model, penalty = perceptron(), PredictionIBP(norm, exact=True)
    leaf = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(cross_entropy(model(leaf), labels).sum(), leaf)
    total = penalty.fused(0.3)(model, x, labels)
    expected = cross_entropy(model(x), labels).mean() + 0.3 * of_directions(model, x, g[None], norm)
    torch.testing.assert_close(total, expected)
    assert_same(gradients(total, model), gradients(expected, model))


@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("loss", [cross_entropy, linear_loss])
def test_passes_through_the_held_network_are_exact_for_piecewise_linear_ones(norm: int, loss) -> None:
    """The loss may be curved: its gradient is the direction, and that is held. Dropout has one mask for all passes."""
    x, labels = images()
    model, found = convolutional(dropout=0.4), []
    for exact in (False, True):
        penalty = PredictionIBP(norm, exact, loss)
        for use in (penalty, penalty.fused(0.3)):
            torch.manual_seed(3)
            total = use(model, x, labels)
            found.append((total.detach(), gradients(total, model)))
    for held, jets in zip(found[:2], found[2:], strict=True):
        torch.testing.assert_close(held[0], jets[0])
        assert_same(held[1], jets[1])
    assert any(g.any() for g in found[0][1])


def test_a_random_combination_of_tangents_is_right_on_average(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean over all 2³ combinations of signs, one for each of eight equal samples, is the sum over tangents."""
    x, labels = vectors(1)
    x, labels, model = x.repeat(8, 1), labels.repeat(8), perceptron()
    every = torch.arange(8) >> torch.arange(3)[:, None] & 1
    monkeypatch.setattr(torch, "randint", lambda *_, dtype, **__: every.to(dtype))
    found = TangentPropagation(tangents, 2, "random")(model, x, labels)
    exact = TangentPropagation(tangents, 2)(model, x, labels)
    torch.testing.assert_close(found, exact)
    assert_same(gradients(found, model), gradients(exact, model))


def test_the_jacobian_penalty_is_the_frobenius_norm_on_average() -> None:
    x, labels = vectors(1)
    model = perceptron()
    exact = jacobian(model, x).square().sum().item() / 2
    found = JacobianPenalty(1000)(model, x, labels).item()
    assert found == pytest.approx(exact, rel=0.2)  # χ²: the standard error is at worst √(2/1000) = 4.5 %


def test_no_gradient_no_penalty() -> None:
    x, labels = vectors()
    model = nn.Linear(5, 3).double()
    nn.init.zeros_(model.weight)
    for penalty in (PredictionIBP(1), PredictionIBP(2, exact=True), TangentPropagation(tangents), JacobianPenalty()):
        total = penalty(model, x, labels)
        assert total.item() == 0 and all(bool(g.isfinite().all()) for g in gradients(total, model))


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: PredictionIBP(0), ValueError, "norm is 1 or 2"),
        (lambda: TangentPropagation(tangents, 1, "random"), ValueError, "needs norm=2"),
        (
            lambda: TangentPropagation(tangents, 2, "some"),  # type: ignore[arg-type]
            ValueError,
            '"all" or "random"',
        ),
        (lambda: JacobianPenalty(0), ValueError, "integer ≥ 1"),
        (
            lambda: TangentPropagation(lambda x: x)(perceptron(), *vectors()),
            ValueError,
            r"expected \[T, 4, 5\], T ≥ 1",
        ),
    ],
)
def test_bad_arguments_are_named(call, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        call()
