"""The Sobolev transform: against the boundary value problem, the printed integrals, and its own laws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.linalg import solve_banded

from jetprop.ode import sobolev

F64 = torch.float64


@pytest.mark.parametrize(("time", "scale"), [(3.0, 1.0), (3.0, 0.1), (2.0, 5.0)])
def test_it_solves_the_boundary_value_problem(time, scale) -> None:
    """ℓ² u'' − u = −f with Neumann ends by finite volumes on a grid that refines the cells 400-fold."""
    f = torch.randn(7, dtype=F64).numpy()
    fine = np.repeat(f, 400)
    h = time / len(fine)
    k = scale**2 / h**2
    bands = np.zeros((3, len(fine)))
    bands[0, 1:] = bands[2, :-1] = -k
    bands[1] = 1 + 2 * k
    bands[1, [0, -1]] -= k
    u = solve_banded((1, 1), bands, fine).reshape(7, 400).mean(1)
    found = sobolev(torch.from_numpy(f), time, scale).numpy()
    # the grid errs by h²/ℓ², with jumps of f, at most (7e-4/0.1)² = 5e-5
    assert np.allclose(found, u, atol=1e-4 * np.abs(f).max())


def test_it_is_the_printed_integral() -> None:
    """(9) by quadrature, averaged over cells; T = 3, length scale 1."""
    f = torch.randn(4, dtype=F64)
    ends = np.linspace(0, 3, 5)

    def of(t: float) -> float:
        total = 0.0
        for value, a, b in zip(f.tolist(), ends, ends[1:], strict=False):
            if a < t:
                total += value * np.cosh(3 - t) * (np.sinh(min(b, t)) - np.sinh(a)) / np.sinh(3)
            if b > t:
                total += value * np.cosh(t) * (np.sinh(3 - max(a, t)) - np.sinh(3 - b)) / np.sinh(3)
        return total

    means = [quad(of, a, b, epsabs=1e-12)[0] / (b - a) for a, b in zip(ends, ends[1:], strict=False)]
    assert np.allclose(sobolev(f, 3.0).numpy(), means, rtol=1e-10)


def test_it_is_symmetric_positive_and_keeps_constants() -> None:
    matrix = sobolev(torch.eye(30, dtype=F64), 3.0, 0.7)
    assert torch.allclose(matrix, matrix.T, rtol=1e-12)
    values = torch.linalg.eigvalsh(matrix)
    assert 0 < float(values[0]) and float(values[-1]) == pytest.approx(1, rel=1e-12)
    assert torch.allclose(matrix.sum(1), torch.ones(30, dtype=F64), rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_limits_of_the_length_scale(scale) -> None:
    f = torch.randn(5, 2, 3, dtype=F64)
    expected = f if scale < 1 else f.mean(0, keepdim=True).expand_as(f)
    assert torch.allclose(sobolev(f, 3.0, scale), expected, atol=1e-5)


def test_it_is_differentiable_and_good_in_float32() -> None:
    f = torch.randn(6, 2, dtype=F64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda g: sobolev(g, 3.0).square(), f)
    long = torch.randn(150, 20, dtype=F64)
    # 150 steps of averaging, each rounded once
    assert torch.allclose(sobolev(long.float(), 3.0).double(), sobolev(long, 3.0), atol=1e-6)


@pytest.mark.parametrize(("time", "scale"), [(0.0, 1.0), (3.0, 0.0), (3.0, float("nan"))])
def test_bad_numbers_are_refused(time, scale) -> None:
    with pytest.raises(ValueError, match="finite number > 0"):
        sobolev(torch.zeros(3), time, scale)
    with pytest.raises(ValueError, match="at least one cell"):
        sobolev(torch.zeros(0, 3), 3.0)
