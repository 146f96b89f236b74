"""Random directions: the expectation is E1, exactly where it can be summed, within its standard error elsewhere."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from jetprop import Basis, Jet
from jetprop.jets import along
from jetprop.objectives import RandomDirections, match


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


@pytest.mark.parametrize("law", ["gaussian", "rademacher"])
@pytest.mark.parametrize("count", [1, 3])
def test_the_laplacian_is_estimated_without_bias_and_with_the_variance_that_is_told(law: str, count: int) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(4, 4, dtype=torch.float64)
    n = torch.tensor([1.0, 2.0, 0.5, 1.5], dtype=torch.float64)
    scaled = (matrix + matrix.T) / (n[:, None] * n)
    draw = RandomDirections(n, count, law)  # type: ignore[arg-type]
    v = draw.sample(20000, torch.Generator().manual_seed(1), torch.float64)
    x = Jet.seed(torch.randn(20000, 4, dtype=torch.float64), v.transpose(0, 1), basis=draw.basis(2))
    found = draw.laplacian(((x @ matrix) * x).sum(-1))
    squares = float((scaled**2).sum()) - (float((scaled.diagonal() ** 2).sum()) if law == "rademacher" else 0.0)
    variance = 2 * squares / count
    assert abs(float(found.mean() - scaled.trace())) < 4 * (variance / len(found)) ** 0.5
    assert float(found.var()) == pytest.approx(variance, rel=0.1)


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
        (lambda: RandomDirections(torch.ones(2), 1).laplacian(Jet.seed(torch.ones(2, 2))), "along the 1 directions"),
        (lambda: RandomDirections.of(Basis.full(2, 1), torch.ones(4), 1), r"expected \(3,\)"),
    ],
)
def test_bad_arguments_are_named(call, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()
