"""Training at moved inputs: values and gradients from their formulas, Taylor's remainder, one dropout mask."""

from __future__ import annotations

import math

import pytest
import torch

from jetprop.objectives import (
    AdversarialTraining,
    FastAdversarialTraining,
    GradientNorm,
    GradientRegularization,
    cross_entropy,
    worst_perturbation,
)
from objectives.small_nets import assert_same, convolutional, gradients, images, perceptron, vectors


def gradient(model: torch.nn.Module, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(cross_entropy(model(leaf), labels).sum(), leaf)[0]


@pytest.mark.parametrize("p", [1, 1.5, 2, math.inf])
def test_finite_form(p: float) -> None:
    x, labels = vectors()
    model = perceptron()
    moved = x + worst_perturbation(gradient(model, x, labels), p, 0.3)
    expected = cross_entropy(model(moved), labels).mean()
    total, clean, grew = GradientRegularization(p, 0.3).parts(model, x, labels)
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(clean + grew, expected.detach())
    assert_same(gradients(total, model), gradients(expected, model))


@pytest.mark.parametrize("form", ["first", "squared"])
def test_first_order_forms(form) -> None:
    x, labels = vectors()
    model = perceptron()
    found = GradientRegularization(2, 0.3, form)(model, x, labels)
    penalty = GradientNorm(2, 0.3, squared=form == "squared")
    expected = cross_entropy(model(x), labels).mean() + penalty(model, x, labels)
    torch.testing.assert_close(found, expected)
    assert_same(gradients(found, model), gradients(expected, model))


def test_adversarial_training_with_one_dropout_mask() -> None:
    x, labels = images()
    model = convolutional(dropout=0.4)

    def with_mask(x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(3)
        return cross_entropy(model(x), labels)

    leaf = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(with_mask(leaf).sum(), leaf)
    moved = x + 0.1 * g.sign()
    expected = (with_mask(x).mean() + with_mask(moved).mean()) / 2
    torch.manual_seed(3)
    total = AdversarialTraining(0.1)(model, x, labels)
    torch.testing.assert_close(total, expected)
    assert_same(gradients(total, model), gradients(expected, model))
    torch.manual_seed(3)
    fast = FastAdversarialTraining(0.1)(model, x, labels)
    assert_same(gradients(fast, model), gradients(with_mask(moved).mean(), model))


def test_the_fast_form_is_the_original_to_first_order() -> None:
    """(11), (12): with ε/2 for ε they differ by O(ε²)."""
    x, labels = vectors()
    model = perceptron()
    differences = [
        (AdversarialTraining(e)(model, x, labels) - FastAdversarialTraining(e / 2)(model, x, labels)).item()
        for e in (0.02, 0.01)
    ]
    assert differences[0] / differences[1] == pytest.approx(4, rel=0.1)


def test_a_linear_loss_grows_by_the_dual_norm() -> None:
    """(4): without curvature the finite and the first-order form are one."""
    x, labels = vectors()
    model = torch.nn.Linear(5, 3).double()

    def loss(predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return predictions.gather(1, targets[:, None]).squeeze(1)

    for p in (1, 1.5, 2, math.inf):
        finite = GradientRegularization(p, 0.3, loss=loss)(model, x, labels)
        torch.testing.assert_close(finite, GradientRegularization(p, 0.3, "first", loss)(model, x, labels))


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: AdversarialTraining(-0.1), ValueError, "epsilon is a finite number ≥ 0"),
        (lambda: FastAdversarialTraining(math.nan), ValueError, "epsilon is a finite number ≥ 0"),
        (lambda: GradientRegularization(0.5, 1.0), ValueError, r"in \[1, ∞\]"),
        (lambda: GradientRegularization(2, -1.0), ValueError, "sigma is a finite number ≥ 0"),
        (
            lambda: GradientRegularization(2, 1.0, "second"),  # type: ignore[arg-type]
            ValueError,
            '"finite", "first" or "squared"',
        ),
        (
            lambda: AdversarialTraining(1.0)(perceptron(), vectors()[0] * math.nan, vectors()[1]),
            FloatingPointError,
            "not finite",
        ),
    ],
)
def test_bad_arguments_are_named(call, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        call()
