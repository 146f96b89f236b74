"""R^I and R^II against nested reverse-mode derivatives, a brute-force oracle and NumPy's percentiles, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from torch import Tensor, nn

from jetprop import Basis, Jet
from jetprop.manifolds import Cube, r_sequence
from jetprop.objectives import ImageDirections, Match, RobustRows, RobustScales, with_directions
from jetprop.objectives.robust import term_of
from training.curve import FEATURES, OUTPUTS, Curve

EXACT = 1e-10
"""Sums and products in float64, of derivatives up to second order."""

BRUTE = 2e-5
"""Central differences over ε = 10⁻³ of minimisers that are found to about 10⁻¹²."""


def curve(count: int = 6, order: int = 2) -> tuple[Jet, Jet]:
    return Curve().sample(count, order=order, dtype=torch.float64)


def drawn(classes: int, count: int = 6) -> Tensor:
    d = torch.randn(classes, count, FEATURES, dtype=torch.float64)
    return d / d.norm(dim=2, keepdim=True)


def along_line(model: nn.Module, x: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """∂N/∂D and ∂²N/∂D² by nested reverse mode, `[n, outputs]`."""
    t = torch.zeros(len(x), 1, dtype=x.dtype, requires_grad=True)
    y = model(x + t * d)
    first = [torch.autograd.grad(y[:, a].sum(), t, create_graph=True)[0] for a in range(y.shape[1])]
    second = [torch.autograd.grad(f.sum(), t, retain_graph=True)[0] for f in first]
    return torch.cat(first, 1).detach(), torch.cat(second, 1)


def brute_oracle(number: int, direction: np.ndarray, step: float = 1e-3) -> tuple[np.ndarray, np.ndarray]:
    """∂O/∂D and ∂²O/∂D² at a point of the curve, by minimising the distance to moved images."""
    t = 2 * r_sequence(1, 2, start=number)[0].numpy() - 1

    def image(p: np.ndarray) -> np.ndarray:
        a, b = p
        return np.array([np.sin(a), np.cos(b), a * b, np.exp(a) / 2, np.sin(a - b), b * b])

    def outputs(p: np.ndarray) -> np.ndarray:
        return np.array([p[0] + p[1] ** 2, p[1]])

    def nearest(epsilon: float) -> np.ndarray:
        moved = image(t) + epsilon * direction
        found = least_squares(lambda p: image(p) - moved, t, xtol=1e-15, ftol=1e-15, gtol=1e-15, jac="3-point")
        return outputs(found.x)

    plus, middle, minus = nearest(step), outputs(t), nearest(-step)
    return (plus - minus) / (2 * step), (plus - 2 * middle + minus) / step**2


def test_targets_are_derivatives_of_the_nearest_point() -> None:
    images, targets = curve()
    d = drawn(2)
    found = with_directions(images, targets, d, RobustRows(2, 2, {"low": 2, "mid": 2})).targets
    for k in range(2):
        for n in range(6):
            first, second = brute_oracle(n, d[k, n].numpy())
            assert np.allclose(found.d(2 + k)[n], first, atol=BRUTE)
            assert np.allclose(found.d(2 + k, 2 + k)[n], second, atol=50 * BRUTE), "one more division by ε"


@pytest.mark.parametrize("base", [0, 1, 2])
@pytest.mark.parametrize("orders", [{"low": 1}, {"low": 1, "mid": 2}, {"low": 2, "mid": 1, "high": 2}])
def test_rows_stand_where_the_basis_says(base: int, orders: dict[str, int]) -> None:
    images, targets = curve()
    d = drawn(len(orders))
    rows = RobustRows(2, base, orders)
    x, y, regular = with_directions(images, targets, d, rows)
    assert x.basis == y.basis == rows.basis and bool(regular.all())
    for label in Basis.full(2, base).labels:
        assert torch.equal(x.d(*label), images.d(*label)) and torch.equal(y.d(*label), targets.d(*label))  # type: ignore[misc]
    inverse = torch.linalg.pinv(images.first.permute(1, 2, 0))
    velocity = torch.einsum("bip,kbp->kbi", inverse, d)
    for k, order in enumerate(orders.values()):
        assert torch.equal(x.d(2 + k), d[k])
        expected = torch.einsum("bi,iba->ba", velocity[k], targets.first)
        assert torch.allclose(y.d(2 + k), expected, atol=EXACT)
        if order == 2:
            assert not x.d(2 + k, 2 + k).any() and bool(y.d(2 + k, 2 + k).any())
    assert sorted(r for held in rows.groups.values() for r in held) == list(range(len(rows.basis)))
    zero = with_directions(images, targets, d, rows, "zero").targets
    assert not any(zero.d(2 + k).any() for k in range(len(orders))) and torch.equal(zero.value, targets.value)


@pytest.mark.parametrize("order", [1, 2])
def test_terms_are_the_printed_costs(order: int) -> None:
    """(36) and section 4.4 written out: derivatives by nested reverse mode, n_a and c by NumPy."""
    count = 40
    images, targets = curve(count, order)
    bank = ImageDirections("mid", (FEATURES,), count=count, seed=1)
    model = nn.Sequential(nn.Linear(FEATURES, 7), nn.Tanh(), nn.Linear(7, OUTPUTS)).double()
    meter = RobustScales({"mid": bank}, {"mid": order})
    for at in (0, 16):
        meter.update(images[at : at + 16 if at == 0 else count], targets[at : at + 16 if at == 0 else count])
    scales = meter.compute()
    assert list(scales) == [f"R{k}_mid" for k in range(1, order + 1)]
    rows = RobustRows(2, 0, {"mid": order})
    d = bank(torch.arange(count)).double()
    x, y, _ = with_directions(images, targets, d[None], rows)
    normalizers = torch.ones(len(rows.basis), OUTPUTS, dtype=torch.float64)
    for name, scale in scales.items():
        normalizers[list(rows.groups[name])] = scale
    weights = {"E0": 1.0, "R1_mid": 0.7, "R2_mid": 0.3}
    weights = {name: weights[name] for name in rows.groups}
    found = Match(rows.basis, weights=weights, normalizers=normalizers, groups=rows.groups)(model(x), y)
    expected = {"E0": float((model(images.value) - targets.value).square().sum(1).mean().detach())}
    for k, network in zip(range(1, order + 1), along_line(model, images.value, d), strict=False):
        oracle = y.d(*(2,) * k).numpy()
        n = np.percentile(oracle, 95, axis=0) - np.percentile(oracle, 5, axis=0)
        c = np.linalg.norm(oracle / n, axis=1).mean()
        expected[f"R{k}_mid"] = float((((network.numpy() - oracle) / n) ** 2).sum(1).mean() / c**2)
        assert np.allclose(scales[f"R{k}_mid"], c * n, rtol=EXACT)
    assert {name: float(term.detach()) for name, term in found.terms.items()} == pytest.approx(expected, rel=1e-9)
    assert float(found.total.detach()) == pytest.approx(sum(weights[k] * v for k, v in expected.items()), rel=1e-9)


def test_a_network_equal_to_the_oracle_costs_nothing() -> None:
    """For a linear manifold and linear targets the oracle is linear: N(x) = T J⁺ (x − x₀) + y₀."""
    tangent, change = torch.randn(2, 5, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    nu = torch.randn(7, 2, dtype=torch.float64)
    p = Jet.seed(nu, order=1)
    images, targets = p @ tangent, p @ change
    model = nn.Linear(5, 3, bias=False).double()
    with torch.no_grad():
        model.weight.copy_((torch.linalg.pinv(tangent) @ change).T)
    rows = RobustRows(2, 1, {"high": 1})
    d = torch.randn(1, 7, 5, dtype=torch.float64)
    x, y, _ = with_directions(images, targets, d, rows)
    compare = Match(rows.basis, groups=rows.groups)
    assert float(compare(model(x), y).total.detach()) < EXACT
    assert float(compare(1.1 * model(x), y).terms["R1_high"].detach()) > 1e-4


def test_singular_samples_are_told_and_left_out_of_the_scales() -> None:
    images, targets = curve(20, 1)
    rows = images.rows.clone()
    rows[2, 3] = rows[1, 3]  # two degrees of freedom move image 3 alike
    bad = Jet(rows, images.basis)
    bank = ImageDirections("high", (FEATURES,), count=20)
    d = bank(torch.arange(20)).double()[None]
    found = with_directions(bad, targets, d, RobustRows(2, 1, {"high": 1}))
    assert found.regular.tolist() == [n != 3 for n in range(20)]
    assert bool(found.targets.rows.isfinite().all())
    meter, literal = RobustScales({"high": bank}, {"high": 1}), found.targets.d(2)[found.regular].numpy()
    meter.update(bad, targets)
    n = np.percentile(literal, 95, axis=0) - np.percentile(literal, 5, axis=0)
    c = np.linalg.norm(literal / n, axis=1).mean()
    assert np.allclose(meter.compute()["R1_high"], c * n, rtol=EXACT)


def test_images_of_the_cube() -> None:
    """Two classes, both orders: shapes, and the oracle's first derivatives by least squares."""
    images, targets = Cube().sample(3, order=2, dtype=torch.float64)
    banks = [ImageDirections(kind, (41, 41), count=3) for kind in ("low", "mid")]
    d = torch.stack([bank(torch.arange(3)) for bank in banks]).double()
    x, y, regular = with_directions(images, targets, d, RobustRows(6, 1, {"low": 2, "mid": 2}))
    assert x.rows.shape == (11, 3, 41, 41) and y.rows.shape == (11, 3, 9) and bool(regular.all())
    tangents = images.first.flatten(2)
    for k in range(2):
        for n in range(3):
            nu = torch.linalg.lstsq(tangents[:, n].T, d[k, n].flatten()[:, None]).solution[:, 0]
            assert torch.allclose(y.d(6 + k)[n], nu @ targets.first[:, n], atol=1e-9)


X, Y = Curve().sample(4, order=1, dtype=torch.float64)
D = torch.ones(1, 4, FEATURES, dtype=torch.float64)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: term_of("R3_low"), "R1_CLASS"),
        (lambda: term_of("low"), "R1_CLASS"),
        (lambda: RobustRows(2, 1, {"low": 3}), "1 or 2, got 3"),
        (lambda: with_directions(X, Y, D, RobustRows(2, 1, {"low": 2})), "derivatives up to order 2"),
        (lambda: with_directions(X, Y, D, RobustRows(2, 2, {"low": 1})), "derivatives up to order 2"),
        (lambda: with_directions(X, Y, D, RobustRows(3, 1, {"low": 1})), "along 3 degrees of freedom"),
        (lambda: with_directions(X, Y, D[:, :3], RobustRows(2, 1, {"low": 1})), r"expected \[1, 4, 6\]"),
        (lambda: with_directions(X, Y, D[..., :5], RobustRows(2, 1, {"low": 1})), r"expected \[1, 4, 6\]"),
        (lambda: with_directions(X, Y, D, RobustRows(2, 1, {"low": 1, "mid": 1})), r"expected \[2, 4, 6\]"),
        (lambda: with_directions(X, Y.truncated(0), D, RobustRows(2, 1, {"low": 1})), "same rows"),
        (lambda: with_directions(X, Y, D, RobustRows(2, 1, {"low": 1}), "none"), '"oracle" or "zero"'),  # type: ignore[arg-type]
    ],
)
def test_bad_arguments_are_named(call, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()


def test_scales_that_mean_nothing_are_refused() -> None:
    bank: dict[str, Any] = {"high": ImageDirections("high", (FEATURES,), count=8)}
    with pytest.raises(ValueError, match="regular for 0 of 4"):
        meter = RobustScales(bank, {"high": 1})
        meter.update(Jet.constant(X.value, X.basis), Y)
        meter.compute()
    with pytest.raises(ValueError, match="output 1 is the same"):
        meter = RobustScales(bank, {"high": 1})
        meter.update(X, Jet(Y.rows * torch.tensor([1.0, 0.0]).double(), Y.basis))
        meter.compute()
