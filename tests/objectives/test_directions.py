"""Random directions: the expectation is E1, exactly where it can be summed, within its standard error elsewhere."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from jetprop import Basis, Jet
from jetprop.manifolds import Cube
from jetprop.objectives import RandomDirections, along, match


def jets(directions: int, order: int = 1, batch: int = 3) -> tuple[Jet, Jet, torch.Tensor]:
    basis = Basis.full(directions, order)
    rows = torch.randn(2, len(basis), batch, 4, dtype=torch.float64)
    return Jet(rows[0], basis), Jet(rows[1], basis), 0.5 + torch.rand(len(basis), dtype=torch.float64)


def test_the_mean_over_all_signs_is_e1_exactly() -> None:
    prediction, target, n = jets(5)
    signs = torch.tensor(list(product([-1.0, 1.0], repeat=5)), dtype=torch.float64)
    v = signs / n[1:]
    estimate = match(along(prediction, v), along(target, v), normalizers=[1.0, *[len(signs) ** 0.5] * len(signs)])
    exact = match(prediction, target, normalizers=n).terms["E1"]
    assert torch.allclose(estimate.terms["E1"], exact, rtol=1e-12)


@pytest.mark.parametrize("law", ["gaussian", "rademacher"])
@pytest.mark.parametrize("count", [1, 3])
def test_the_mean_is_e1_within_its_standard_error(law: str, count: int) -> None:
    prediction, target, n = jets(4)
    draw = RandomDirections.of(prediction.basis, n, count, law)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(7)
    found = []
    for _ in range(3000):
        v = draw.sample(3, generator, torch.float64)
        estimate = match(along(prediction, v), along(target, v), normalizers=draw.normalizers(float(n[0]), 1))
        found.append(estimate.terms["E1"])
        assert torch.allclose(estimate.terms["E0"], match(prediction, target, normalizers=n).terms["E0"])
    estimates = torch.stack(found)
    error = estimates.std() / len(found) ** 0.5
    assert abs(float(estimates.mean() - match(prediction, target, normalizers=n).terms["E1"])) < 4 * float(error)


def test_signs_vary_less_than_gaussians() -> None:
    prediction, target, n = jets(4)
    spread = {}
    for law in ("gaussian", "rademacher"):
        draw = RandomDirections.of(prediction.basis, n, 1, law)
        v = draw.sample(3 * 500, torch.Generator().manual_seed(1), torch.float64).view(500, 3, 1, 4)
        spread[law] = torch.stack([match(along(prediction, w), along(target, w)).terms["E1"] for w in v]).std()
    assert spread["rademacher"] < spread["gaussian"]


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


def test_a_seed_makes_the_same_directions_again() -> None:
    draw = RandomDirections(torch.ones(3), 2)
    one, other = (draw.sample(5, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one, other) and one.shape == (5, 2, 3)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: RandomDirections(torch.tensor([1.0, 0.0]), 1), "positive normalizers"),
        (lambda: RandomDirections(torch.ones(2), 0), "integer ≥ 1"),
        (lambda: RandomDirections(torch.ones(2), 1, "uniform"), '"gaussian" or "rademacher"'),  # type: ignore[arg-type]
        (lambda: RandomDirections.of(Basis.full(2, 0), torch.ones(1), 1), "carries none"),
        (lambda: RandomDirections.of(Basis.full(2, 1), torch.ones(4), 1), r"expected \(3,\)"),
        (lambda: along(Jet.seed(torch.ones(2, 3)), torch.ones(1, 2)), r"expected \[K, 3\]"),
        (lambda: along(Jet.seed(torch.ones(2, 3)), torch.ones(3, 1, 3)), r"\[2, K, 3\]"),
        (lambda: along(Jet.constant(torch.ones(2, 3), Basis.directional(2, 2)), torch.ones(1, 2)), "a full basis"),
        (lambda: along(Jet.constant(torch.ones(2, 3), Basis.laplacian(2)), torch.ones(1, 2)), "a full basis"),
    ],
)
def test_bad_arguments_are_named(call, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()
