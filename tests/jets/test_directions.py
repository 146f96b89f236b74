"""Derivatives along lines: contracted from partial ones, and partial ones from them."""

from __future__ import annotations

from math import comb

import pytest
import torch

from jetprop import Basis, Jet
from jetprop.jets import along, partials, polarising
from jetprop.manifolds import Cube


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("per_sample", [False, True])
def test_contraction_is_the_jet_along_the_line(order: int, per_sample: bool) -> None:
    x = torch.randn(3, 4, dtype=torch.float64)
    v = torch.randn(*((3,) if per_sample else ()), 2, 4, dtype=torch.float64)

    def function(jet: Jet) -> Jet:
        return (jet.sin() * jet[:, :1].exp()).cumsum(-1) ** 2

    lines = Jet.seed(x, v.transpose(0, 1) if per_sample else v, basis=Basis.directional(2, order))
    found = along(function(Jet.seed(x, order=order)), v)
    expected = function(lines)
    assert found.basis == expected.basis
    assert torch.allclose(found.rows, expected.rows, rtol=1e-10)


def test_contraction_agrees_with_the_cube_along_directions() -> None:
    v = torch.randn(4, 2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    asked = Cube().sample(4, order=2, dtype=torch.float64, directions=v)
    stored = Cube().sample(4, order=2, dtype=torch.float64)
    for direct, contracted in zip(asked, (along(jet, v) for jet in stored), strict=True):
        scale = direct.rows.flatten(1).abs().amax(1).view(-1, *[1] * direct.dim())
        assert float(((direct.rows - contracted.rows).abs() / scale).max()) < 1e-9


def test_contraction_can_be_differentiated_in_the_rows() -> None:
    basis = Basis.full(2, 2)
    v = torch.randn(3, 2, dtype=torch.float64)
    rows = torch.randn(6, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda r: along(Jet(r, basis), v).rows, rows)


@pytest.mark.parametrize(("dimension", "order"), [(1, 4), (2, 4), (3, 3), (4, 2), (6, 2), (5, 1)])
def test_partial_derivatives_come_back_from_lines(dimension: int, order: int) -> None:
    def function(x: Jet) -> Jet:
        return (x.sin() * x[:, :1].exp()).cumsum(-1) ** 2

    x = torch.randn(3, dimension, dtype=torch.float64)
    v = polarising(dimension, order)
    assert v.shape == (comb(dimension + order - 1, order), dimension)
    lines = function(Jet.seed(x, v, basis=Basis.directional(len(v), order)))
    expected = function(Jet.seed(x, order=order))
    assert torch.allclose(partials(lines, v).rows, expected.rows, rtol=1e-8, atol=1e-8)
    assert torch.allclose(along(partials(lines, v), v).rows, lines.rows, rtol=1e-8, atol=1e-8)


def test_more_directions_than_needed_do_too() -> None:
    v = torch.randn(9, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = torch.randn(4, 2, dtype=torch.float64)
    found = partials(Jet.seed(x, v, basis=Basis.directional(9, 3)).prod(-1).exp(), v)
    assert torch.allclose(found.rows, Jet.seed(x, order=3).prod(-1).exp().rows, rtol=1e-8, atol=1e-8)


def test_partial_derivatives_can_be_differentiated_in_the_rows() -> None:
    v = polarising(2, 2)
    rows = torch.randn(7, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda r: partials(Jet(r, Basis.directional(3, 2)), v).rows, rows)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: along(Jet.seed(torch.ones(2, 3)), torch.ones(1, 2)), r"expected \[K, 3\]"),
        (lambda: along(Jet.seed(torch.ones(2, 3)), torch.ones(3, 1, 3)), r"\[2, K, 3\]"),
        (lambda: along(Jet.constant(torch.ones(2, 3), Basis.directional(2, 2)), torch.ones(1, 2)), "a full basis"),
        (lambda: along(Jet.constant(torch.ones(2, 3), Basis.laplacian(2)), torch.ones(1, 2)), "a full basis"),
        (lambda: polarising(0, 2), "≥ 1, got 0 and 2"),
        (lambda: partials(Jet.seed(torch.ones(2, 3), order=2), torch.ones(3, 3)), r"Basis.directional\(K, order\)"),
        (
            lambda: partials(Jet.constant(torch.ones(2), Basis.directional(2, 2)), torch.eye(2)),
            r"2 directions do not determine the 3 partial derivatives of order 2",
        ),
    ],
)
def test_bad_arguments_are_named(call, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()
