"""Normalizers: the rules written out, and on the cube."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from jetprop import Basis, Jet
from jetprop.manifolds import Cube
from jetprop.objectives import Statistics, normalizers

KINDS = ["reciprocal", "scaled", "printed", "unit", "none"]


def data(n: int = 12) -> tuple[Jet, Jet]:
    """Inputs with all derivatives; targets without those of row (1,) and rows (0, 1), (1, 1)."""
    basis = Basis.full(2, 2)
    inputs, targets = torch.randn(6, n, 7).double(), torch.randn(6, n, 3).double()
    targets[[basis.row(1), basis.row(0, 1), basis.row(1, 1)]] = 0
    return Jet(inputs, basis), Jet(targets, basis)


def average(rows: Tensor) -> Tensor:
    return torch.stack([torch.stack([v.norm() for v in row]).mean() for row in rows])


def test_rules_written_out() -> None:
    inputs, targets = data()
    x, c = average(inputs.rows), average(targets.rows)
    first, second = x[1], x[3]  # the only rows of their order with targets
    absent = {
        "reciprocal": (x[2] / first, x[4] / second, x[5] / second),
        "scaled": (x[2] / first * c[1], x[4] / second * c[3], x[5] / second * c[3]),
        "printed": (first / x[2], second / x[4], second / x[5]),
        "unit": (1, 1, 1),
    }
    for kind, (i, ij, jj) in absent.items():
        expected = torch.tensor([c[0], c[1], i, c[3], ij, jj], dtype=torch.float64)
        assert torch.allclose(normalizers([(inputs, targets)], kind), expected), kind  # type: ignore[arg-type]
    assert torch.equal(normalizers([(inputs, targets)], "none"), torch.ones(6).double())


@pytest.mark.parametrize("sizes", [[12], [5, 7], [1] * 12, [3, 1, 8]])
def test_chunks_make_no_difference(sizes: list[int]) -> None:
    inputs, targets = data()
    whole = Statistics.of([(inputs, targets)])
    parts = zip(inputs.rows.split(sizes, 1), targets.rows.split(sizes, 1), strict=True)
    found = Statistics.of((Jet(x, inputs.basis), Jet(y, inputs.basis)) for x, y in parts)
    assert found.count == 12
    for name in ("input_norms", "target_norms", "mean", "deviation"):
        assert torch.allclose(getattr(found, name), getattr(whole, name), rtol=1e-12), name
    assert torch.allclose(whole.deviation, targets.value.std(0, correction=0))


def test_deviations_far_from_zero_keep_their_digits() -> None:
    values = 1e8 + torch.randn(1, 1000, 1).double()
    chunks = [Jet(part, Basis.full(1, 0)) for part in values.split(100, 1)]
    found = Statistics.of((jet, jet) for jet in chunks)
    assert torch.allclose(found.deviation, values[0].std(0, correction=0), rtol=1e-6)


def test_scaled_follows_the_units_of_the_targets() -> None:
    inputs, targets = data()
    small = normalizers([(inputs, targets)], "scaled")
    large = normalizers([(inputs, Jet(1000 * targets.rows, targets.basis))], "scaled")
    assert torch.allclose(large, 1000 * small)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_carry_nothing_are_harmless(kind: str) -> None:
    inputs, targets = data()
    nothing = torch.zeros_like(inputs.rows)
    for x, y in ((nothing, targets.rows), (inputs.rows, torch.zeros_like(targets.rows)), (nothing, 0 * targets.rows)):
        found = normalizers([(Jet(x, inputs.basis), Jet(y, inputs.basis))], kind)  # type: ignore[arg-type]
        assert bool(found.isfinite().all() & (found > 0).all())


def test_an_order_without_any_target_is_compared_with_itself() -> None:
    inputs, targets = data()
    targets.rows[3:] = 0
    found = normalizers([(inputs, targets)])[3:]
    x = average(inputs.rows)[3:]
    assert torch.allclose(found, x / x.mean())


def test_rounding_does_not_count_as_a_target() -> None:
    inputs, targets = data()
    clean = normalizers([(inputs, targets)])
    targets.rows[2] += 1e-9
    assert torch.allclose(normalizers([(inputs, targets)]), clean, rtol=1e-6)


def test_on_the_cube() -> None:
    """Rotations as printed; pairs with a translation relative to the mean size of the second image derivatives."""
    basis = Basis.full(6, 2)
    chunks = [Cube().sample(64, start, 2, dtype=torch.float64) for start in (0, 64)]
    found = normalizers(chunks)
    targets, inputs = (torch.cat([pair[k].rows for pair in chunks], 1) for k in (1, 0))
    rotations = [basis.row(i, j) for i in range(3) for j in range(i, 3)]
    with_translation = [basis.row(i, j) for i in range(6) for j in range(max(i, 3), 6)]
    assert len(rotations) == 6 and len(with_translation) == 15
    assert torch.allclose(found[:7], average(targets[:7]))
    assert torch.allclose(found[rotations], average(targets[rotations]))
    sizes = average(inputs.flatten(2))
    mean = sizes[rotations].mean()
    assert 28 < float(mean) < 38
    assert torch.allclose(found[with_translation], sizes[with_translation] / mean)
    assert torch.allclose(normalizers(chunks, "printed")[with_translation], mean / sizes[with_translation])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: normalizers([]), "at least one chunk"),
        (lambda: normalizers([data()], "recip"), "one of 'reciprocal'"),  # type: ignore[arg-type]
        (lambda: normalizers([data()], zero_below=2.0), "fraction"),
        (lambda: normalizers([(data()[0], data()[1].truncated(1))]), "same rows"),
        (lambda: normalizers([data(), tuple(jet.truncated(1) for jet in data())]), "earlier chunks"),  # type: ignore[list-item]
        (lambda: normalizers([(data(3)[0], data(4)[1])]), "3 inputs and 4 targets"),
    ],
)
def test_bad_arguments_are_named(call, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()
