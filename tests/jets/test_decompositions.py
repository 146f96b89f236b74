"""Factors of matrices: where they have no derivatives, they say so; what PyTorch called them before; their backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from jetprop.jets import Basis, Jet, push
from jets.rule_cases import DTYPE, drawn
from jets.tolerances import ENGINE, ROUNDING, SINGLE

BASIS = Basis.full(2, 2)
L = torch.linalg
TALL, SQUARE = drawn(3, 2, seed=1), drawn(2, 2, seed=3)
DEPENDENT = torch.tensor([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]], dtype=DTYPE)


def same(a: Any, b: Any) -> bool:
    return torch.equal(a.rows, b.rows)


def exponential(x: Any) -> Any:
    return torch.matrix_exp(x)


def jet(value: Tensor) -> Any:
    return Jet(torch.cat([value[None], drawn(len(BASIS) - 1, *value.shape, seed=9)]), BASIS)


@pytest.mark.parametrize(
    ("call", "x", "words"),
    [
        (L.qr, DEPENDENT, "qr of a jet: .* lacks full rank"),
        (lambda x: L.qr(x, "complete"), TALL, "mode='complete' needs no more rows than columns, got 3 × 2"),
        (lambda x: L.qr(x, "full"), TALL, "expected mode 'reduced', 'complete' or 'r', got 'full'"),
        (L.pinv, DEPENDENT, "pinv of a jet: expected full rank, .* got rank 1"),
        (lambda x: L.pinv(x, rtol=0.99), TALL, "got rank 1 within the tolerances"),
        (lambda x: L.lstsq(x, x), DEPENDENT, "lacks full rank"),
        (L.svd, TALL, "expected full_matrices=False for a 3 × 2 matrix"),
        (L.svdvals, torch.eye(2, dtype=DTYPE), "svd of a jet: two singular values are equal"),
        (lambda x: L.svd(x, full_matrices=False), DEPENDENT, "lacks full rank"),
        (L.eig, torch.eye(2, dtype=DTYPE), "eig of a jet: two eigenvalues are equal"),
        (lambda x: L.matrix_norm(x, 3), SQUARE, "expected ord 'fro', 'nuc', .* got 3"),
        (lambda x: torch.rot90(x, 1, (0, -2)), SQUARE, "two different axes"),
        (lambda x: torch.hsplit(x, 2), SQUARE[:, :1], "2 parts do not divide the length 1"),
        (lambda x: torch.pdist(x[0]), SQUARE, "expected a matrix of points"),
    ],
)
def test_where_nothing_is_differentiable_it_is_said(call: Callable[[Any], Any], x: Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call(jet(x))


def test_hermitian_pseudoinverses_are_refused() -> None:
    with pytest.raises(TypeError, match="hermitian=False; .* take torch.linalg.inv"):
        L.pinv(jet(SQUARE), hermitian=True)


@pytest.mark.filterwarnings("ignore:torch.qr is deprecated")
def test_the_old_words() -> None:
    x = jet(TALL)
    assert same(torch.qr(x)[0], L.qr(x)[0])
    assert same(x.qr(some=True)[1], L.qr(x)[1])
    u, s, v = x.svd()
    ROUNDING.check(((u * s) @ v.mH).rows, x.rows)
    assert same(torch.svd(x, some=True)[0], u)
    assert same(x.pinverse(rcond=1e-9), L.pinv(x))
    with pytest.raises(TypeError, match="use torch.linalg.svdvals"):
        torch.svd(x, compute_uv=False)


def test_what_else_is_returned_is_pytorchs() -> None:
    x, right = jet(TALL), drawn(3, 1, seed=2)
    found, plain = L.lstsq(x, right, driver="gelsd"), L.lstsq(TALL, right, driver="gelsd")
    assert type(found) is type(plain)
    assert torch.equal(found.rank, plain.rank)
    ROUNDING.check(found.singular_values.value, plain.singular_values)
    ROUNDING.check(found.singular_values.rows, L.svdvals(x).rows)
    ROUNDING.check(found.residuals.value, plain.residuals)
    assert L.qr(x, mode="r").Q.shape == (0,)
    assert not L.inv_ex(jet(SQUARE)).info.any()


@pytest.mark.parametrize("size", [0.0, 1e-8, 1.0, 30.0])
def test_exponentials_of_small_and_large_matrices(size: float) -> None:
    x = jet(SQUARE * size)
    expected = push(exponential, x, backend="reference", create_graph=False).rows
    scale = expected.abs().amax()
    ENGINE.check(exponential(x).rows / scale, expected / scale)


def test_exponentials_of_half_precision_are_those_of_pytorch() -> None:
    x = jet(SQUARE).float()
    SINGLE.check(exponential(x).value, torch.matrix_exp(x.value))
    assert torch.matrix_exp(x[:, :0].reshape(0, 2, 2)).shape == (0, 2, 2)


FUNCTIONS: dict[str, tuple[Callable[[Any], Any], Tensor]] = {
    "qr": (lambda a: L.qr(a)[0] @ L.qr(a)[1][:, :1], TALL),
    "svd": (lambda a: L.svd(a, full_matrices=False)[0][:, :1] ** 2, TALL),
    "svdvals": (L.svdvals, SQUARE),
    "pinv": (L.pinv, TALL),
    "lstsq": (lambda a: L.lstsq(a, TALL[:, :1] ** 2)[0], TALL),
    "eigvals": (lambda a: L.eigvals(a).real, drawn(2, 2, seed=4)),
    "matrix_exp": (torch.matrix_exp, SQUARE),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_are_right(name: str) -> None:
    function, x = FUNCTIONS[name]
    rows = jet(x).rows[:4].clone().requires_grad_()  # over (), (0,), (1,), (0, 0)
    basis = Basis([(), (0,), (1,), (0, 0)])
    assert gradcheck(lambda r: function(Jet(r, basis)).rows, rows, atol=1e-5)
