"""Penalties on the gradient of the loss against nested reverse mode, finite differences and the papers' theory."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from jetprop import Jet
from jetprop.objectives import FastTangentPropagation, GradientNorm, LossIBP, Penalty, cross_entropy
from jetprop.objectives.held_jacobians import input_gradient
from objectives.small_nets import assert_same, convolutional, gradients, images, linear_loss, perceptron, vectors

TURNS = 3


def tangents(x: Tensor) -> Tensor:
    """Fixed linear maps of each input, TURNS of them."""
    maps = torch.randn(TURNS, x[0].numel(), x[0].numel(), generator=torch.Generator().manual_seed(1), dtype=x.dtype)
    return torch.einsum("tij,bj->tbi", maps, x.flatten(1)).reshape(TURNS, *x.shape)


def by_definition(penalty: Penalty, g: Tensor, x: Tensor) -> Tensor:
    """The formulas of the docstrings, sample after sample."""
    terms = []
    for one, t in zip(g.flatten(1), tangents(x).flatten(2).transpose(0, 1), strict=True):
        match penalty:
            case LossIBP(norm=r):
                terms.append(one.abs().pow(r).sum() / r)
            case FastTangentPropagation(norm=r, signed=signed):
                along = t @ one
                terms.append(along.sum() if signed else along.abs().pow(r).sum() / r)
            case GradientNorm(p=p, sigma=sigma, squared=squared):
                norm = torch.linalg.vector_norm(one, {1: math.inf, math.inf: 1}.get(p, p / (p - 1) if p > 1 else 0))
                terms.append(sigma**2 / 2 * norm**2 if squared else sigma * norm)
    return torch.stack(terms).mean()


def named(penalty: object) -> str:
    """Its settings, without the addresses of functions, which differ from process to process."""
    return re.sub(r"<function (\w+)[^>]*>", r"\1", str(penalty))


def kinds(exact: bool) -> list[Penalty]:
    return [
        LossIBP(1, exact),
        LossIBP(2, exact),
        FastTangentPropagation(tangents, 1, exact=exact),
        FastTangentPropagation(tangents, 2, exact=exact),
        FastTangentPropagation(tangents, signed=True, exact=exact),
        *(GradientNorm(p, 0.7, squared, exact) for p in (1, 1.5, 2, 4, math.inf) for squared in (False, True)),
    ]


@pytest.mark.parametrize("penalty", kinds(exact=True), ids=named)
def test_the_exact_form_is_the_gradient_of_the_value(penalty: Penalty) -> None:
    x, labels = vectors()
    model = perceptron()
    leaf = x.clone().requires_grad_()
    task = cross_entropy(model(leaf), labels)
    (g,) = torch.autograd.grad(task.sum(), leaf, create_graph=True)
    expected = by_definition(penalty, g, x)
    found = penalty(model, x, labels)
    torch.testing.assert_close(found, expected)
    assert_same(gradients(found, model), gradients(expected, model))
    total, clean, alone = penalty.fused(0.3).parts(model, x, labels)
    torch.testing.assert_close(total, clean + 0.3 * alone)
    leaf = x.clone().requires_grad_()
    task = cross_entropy(model(leaf), labels)
    (g,) = torch.autograd.grad(task.sum(), leaf, create_graph=True)
    assert_same(gradients(total, model), gradients(task.mean() + 0.3 * by_definition(penalty, g, x), model))


@pytest.mark.parametrize("held", [*kinds(exact=False)[:5], GradientNorm(2, 0.7, exact=False)], ids=named)
def test_the_form_of_the_paper_is_exact_where_nothing_is_curved(held: Penalty) -> None:
    """Strided, grouped, transposed convolutions, max pooling and dropout, with one mask for all passes."""
    x, labels = images()
    model = convolutional(dropout=0.4)
    exact = type(held)(**{**vars(held), "exact": True, "loss": linear_loss})
    held = type(held)(**{**vars(held), "loss": linear_loss})
    found = []
    for penalty in (held, exact):
        for use in (penalty, penalty.fused(0.3)):
            torch.manual_seed(3)
            total = use(model, x, labels)
            found.append((total.detach(), gradients(total, model)))
    for of_held, of_exact in zip(found[:2], found[2:], strict=True):
        torch.testing.assert_close(of_held[0], of_exact[0])
        assert_same(of_held[1], of_exact[1])
    assert any(g.any() for g in found[0][1])


def held_by_hand(model: nn.Sequential, x: Tensor, labels: Tensor, v: Tensor) -> list[Tensor]:
    """The gradient of v·g with dy_K and the slopes of each layer as constants, by nested reverse mode."""
    y, slopes = x, []
    for layer in model:
        y = layer(y)
        slopes.append((y * (1 - y)).detach())
    z = y.detach().requires_grad_()
    (d,) = torch.autograd.grad(cross_entropy(z, labels).mean(), z)
    for layer, slope in zip(reversed(model), reversed(slopes), strict=True):
        d = d @ layer.weight if isinstance(layer, nn.Linear) else d * slope  # type: ignore[operator]
    return gradients((v * d).sum(), model)


@pytest.mark.parametrize("norm", [1, 2])
def test_the_form_of_the_paper_drops_the_curvature_of_smooth_networks(norm: int) -> None:
    x, labels = vectors()
    model = perceptron()
    leaf = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(cross_entropy(model(leaf), labels).sum(), leaf)
    expected = held_by_hand(model, x, labels, g.sign() if norm == 1 else g)
    found = gradients(LossIBP(norm)(model, x, labels), model)
    assert_same(found, expected)
    exact = gradients(LossIBP(norm, exact=True)(model, x, labels), model)
    differences = [float((a - b).norm() / b.norm()) for a, b in zip(found[::2], exact[::2], strict=True)]
    assert max(differences) > 0.01  # the two are different gradients, and neither is a rounding of the other
    task = gradients(cross_entropy(model(x), labels).mean(), model)
    fused = gradients(LossIBP(norm).fused(0.3)(model, x, labels), model)
    assert_same(fused, [a + 0.3 * b for a, b in zip(task, expected, strict=True)])


def test_fast_tangent_bp_is_loss_ibp_with_the_loss_of_a_tangent() -> None:
    """Section 7.5: dy₀·t sent through the third pass, and ỹ_K·dy_K sent through the linearised network."""
    x, labels = vectors()
    model = perceptron()
    t = tangents(x)
    found = gradients(FastTangentPropagation(tangents, signed=True)(model, x, labels), model)
    assert_same(found, held_by_hand(model, x, labels, t.sum(0)))


@pytest.mark.parametrize("penalty", [LossIBP(2, True), FastTangentPropagation(tangents, 2, exact=True)], ids=named)
def test_they_are_rows_of_the_jet_of_the_loss(penalty: Penalty) -> None:
    x, labels = vectors()
    model = perceptron()
    leaf = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(cross_entropy(model(leaf), labels).sum(), leaf)
    _, v = penalty.of_gradient(g, x)  # type: ignore[attr-defined]
    losses: Any = nn.functional.cross_entropy(model(Jet.seed(x, v[None])), labels, reduction="none")
    assert_same(gradients(penalty(model, x, labels), model), gradients(losses.d(0).mean(), model))


@pytest.mark.parametrize("label", [0, 1])
def test_noise_is_loss_ibp_for_a_single_neuron(label: int) -> None:
    """Section 7.4: with L = −l ln|p| − (1 − l) ln|1 − p| the trace of the Hessian is ‖∇L‖², twice the penalty."""

    def loss(p: Tensor, l: Tensor) -> Tensor:  # noqa: E741
        return (-l * p.abs().log() - (1 - l) * (1 - p).abs().log()).squeeze(1)

    neuron, x, labels = nn.Linear(4, 1).double(), torch.randn(1, 4, dtype=torch.float64), torch.tensor([label])
    hessian = torch.autograd.functional.hessian(lambda x: loss(neuron(x), labels).sum(), x).reshape(4, 4)  # type: ignore[union-attr]
    torch.testing.assert_close(2 * LossIBP(norm=2, loss=loss)(neuron, x, labels).detach(), hessian.trace())


def test_modules_without_linear_weights_take_the_exact_form() -> None:
    x, labels = images()
    model = nn.Sequential(nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(128, 3)).double().eval()
    LossIBP(exact=True)(model, x, labels).backward()
    with pytest.raises(NotImplementedError, match="0.weight, 0.bias act in another way: take exact=True"):
        LossIBP()(model, x, labels)


@pytest.mark.parametrize("exact", [True, False])
def test_samples_that_mix_are_refused(exact: bool) -> None:
    x, labels = images()
    model = nn.Sequential(nn.BatchNorm2d(2, affine=False), nn.Flatten(), nn.Linear(128, 3)).double()
    with pytest.raises(ValueError, match="0 .BatchNorm2d. normalises by the statistics of the batch"):
        LossIBP(exact=exact)(model, x, labels)
    LossIBP(exact=exact)(model.eval(), x, labels)


class OwnWeights(nn.Module):
    """A layer whose weights come from its input."""

    def __init__(self) -> None:
        super().__init__()
        self.make = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([nn.functional.linear(one[None], torch.outer(self.make(one), one)) for one in x])


def test_weights_that_come_from_the_input_are_differentiated_too() -> None:
    x, labels = torch.randn(3, 4, dtype=torch.float64), torch.tensor([0, 1, 2])
    model = OwnWeights().double()
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(nn.functional.cross_entropy(model(leaf), labels, reduction="sum"), leaf)
    torch.testing.assert_close(input_gradient(model, x, labels, cross_entropy)[1], expected)


def test_no_gradient_no_penalty() -> None:
    """sign(0) = 0, and 0/0 is 0: a network of zeros has no gradient."""
    x, labels = vectors()
    model = perceptron()
    for p in model.parameters():
        nn.init.zeros_(p)
    for penalty in (*kinds(exact=True), *kinds(exact=False)):
        total = penalty(model, x, labels)
        assert total.item() == 0 and all(bool(g.isfinite().all()) for g in gradients(total, model))


ON = perceptron()
X, Y = torch.ones(4, 5, dtype=torch.float64), torch.tensor([0, 1, 2, 0])


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: LossIBP(norm=3), ValueError, "norm is 1 or 2"),
        (lambda: LossIBP().fused(-1.0), ValueError, "beta is a finite number ≥ 0"),
        (lambda: GradientNorm(0.9, 1.0), ValueError, r"in \[1, ∞\]"),
        (lambda: GradientNorm(math.nan, 1.0), ValueError, r"in \[1, ∞\]"),
        (lambda: GradientNorm(2, -1.0), ValueError, "sigma is a finite number ≥ 0"),
        (lambda: FastTangentPropagation(tangents, 2, signed=True), ValueError, "norm=1"),
        (lambda: FastTangentPropagation(lambda x: x)(ON, X, Y), ValueError, r"expected \[T, 4, 5\]"),
        (lambda: FastTangentPropagation(lambda x: x[None, :, :2])(ON, X, Y), ValueError, r"shape \(1, 4, 2\)"),
        (lambda: LossIBP()(ON, X[:0], Y[:0]), ValueError, "batch of inputs is empty"),
        (lambda: LossIBP()(ON, X, Y[:3]), ValueError, "4 inputs came with targets"),
        (lambda: LossIBP()(ON, X.long(), Y), TypeError, "floating-point"),
        (lambda: LossIBP()(ON, X, Y + 1), ValueError, "labels run from 1 to 3"),
        (lambda: LossIBP()(ON, X, Y - 1), ValueError, "labels run from -1 to 1"),
        (lambda: LossIBP()(ON, X, Y.double()), ValueError, "integer labels"),
        (lambda: LossIBP()(nn.Unflatten(1, (5, 1)), X, Y), ValueError, r"logits \[batch, classes\]"),
        (lambda: LossIBP(loss=nn.functional.cross_entropy)(ON, X, Y), ValueError, "one number a sample"),
        (lambda: LossIBP()(ON, X * math.nan, Y), FloatingPointError, "not finite"),
        (lambda: torch.no_grad()(LossIBP())(ON, X, Y), RuntimeError, "outside torch.no_grad"),
    ],
)
def test_bad_arguments_are_named(call, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        call()
