"""The oracle itself, against derivatives known in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from jetprop.jets import Basis, Jet, Trace, push
from jets.rule_cases import DTYPE, HIGHEST, drawn
from jets.tolerances import ENGINE, ROUNDING


def reference(function, x: Jet, **options) -> Jet:
    return push(function, x, backend="reference", **options)


@pytest.mark.parametrize("order", range(5))
def test_powers_of_the_exponential(order: int) -> None:
    """∂^(a,b) exp(2u + 3v) = 2ᵃ 3ᵇ exp(2u + 3v)."""
    x = drawn(3, 2)
    found = reference(lambda x: torch.exp(x @ x.new_tensor([2.0, 3.0])), Jet.seed(x, order=order))
    value = torch.exp(2 * x[:, 0] + 3 * x[:, 1])
    for row, label in enumerate(Basis.full(2, order)):
        assert isinstance(label, tuple)
        ENGINE.check(found.rows[row], math.prod([2, 3][i] for i in label) * value)


def test_a_curve_is_followed() -> None:
    """Rows above the first are those of the path: sin(t²/2) has the derivatives 0, 0, 1, 0, 0 at 0."""
    rows = torch.zeros(5, 1, dtype=DTYPE)
    rows[2] = 1.0
    found = reference(torch.sin, Jet(rows, Basis.full(1, 4)))
    ROUNDING.check(found.rows[:, 0], torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0], dtype=DTYPE))


def test_repeated_directions_count_their_factorials() -> None:
    """The identity returns the rows themselves, whatever their multiplicities."""
    jet = Jet(drawn(len(HIGHEST), 2, 3), HIGHEST)
    ROUNDING.check(reference(lambda x: x * 1, jet).rows, jet.rows)
    other = Basis.full([1, 4], 3) | Basis.full([2], 1)
    jet = Jet(drawn(len(other), 2, 3), other)
    ROUNDING.check(reference(lambda x: x * 1, jet).rows, jet.rows)


def test_laplacians() -> None:
    """Δ|x|⁴ = 4 (d + 2) |x|²."""
    x = drawn(5, 3)
    found = reference(lambda x: (x * x).sum(-1) ** 2, Jet.seed(x, basis=Basis.laplacian(3)))
    ENGINE.check(found.rows[-1], 20 * (x * x).sum(-1))


def test_traces_beside_others() -> None:
    """Traces over directions apart from each other are right; over a shared one, no path has them all: refused."""
    x = drawn(3, 2)
    apart = Basis.laplacian([0]) + Basis.laplacian([0])
    v = drawn(2, 3, 2, seed=1)
    ENGINE.check(reference(torch.sin, Jet.seed(x, v, basis=apart)).rows[-2:], -torch.sin(x) * v**2)
    for other in (Basis.laplacian(2, weights={0: 2.0}), Basis.directional(2, 2)):
        with pytest.raises(ValueError, match="one trace along a direction and no pure second derivative beside it"):
            reference(torch.sin, Jet.seed(x, v, basis=Basis.laplacian(2) | other))


def test_what_it_returns_can_be_differentiated() -> None:
    x = drawn(2, 2)
    w = drawn(2, seed=1).requires_grad_()
    found = reference(lambda x: torch.sin(x * w), Jet.seed(x, torch.ones(1, 2), order=1))
    (slope,) = torch.autograd.grad(found.d(0).sum(), w)
    ENGINE.check(slope, (torch.cos(x * w) - x * w * torch.sin(x * w)).sum(0).detach())
    assert not reference(lambda x: torch.sin(x * w), Jet.seed(x), create_graph=False).requires_grad


def test_constants_have_no_derivatives() -> None:
    found = reference(lambda x: torch.ones(2, dtype=DTYPE), Jet.seed(drawn(2, 2), order=2))
    assert torch.equal(found.rows, torch.cat([torch.ones(1, 2), torch.zeros(5, 2)]).double())
    assert reference(lambda x: x[:0], Jet.seed(drawn(2, 2), order=2)).rows.shape == (6, 0, 2)
    assert reference(torch.sin, Jet.seed(drawn(2, 2), order=0)).rows.shape == (1, 2, 2)


def test_backends_are_named() -> None:
    jet = Jet.seed(drawn(2, 2))
    assert torch.equal(push(torch.tanh, jet).rows, torch.tanh(jet).rows)  # type: ignore[arg-type, union-attr]
    with pytest.raises(ValueError, match='backend is "engine" or "reference", got \'forward\''):
        push(torch.tanh, jet, backend="forward")  # type: ignore[arg-type]


def test_it_goes_where_no_rule_is() -> None:
    jet = Jet.seed(drawn(2, 2), order=2)
    found = reference(torch.special.i0, jet)
    ENGINE.check(found.d(0)[:, 0], torch.special.i1(jet.value[:, 0]))
    assert isinstance(found.basis[0], tuple) and not isinstance(found.basis[-1], Trace)


def test_it_works_without_grad_mode() -> None:
    jet = Jet.seed(drawn(2, 2), order=2)
    with torch.no_grad():
        found: Tensor = reference(torch.tanh, jet).rows
    assert torch.allclose(found, reference(torch.tanh, jet).rows)
