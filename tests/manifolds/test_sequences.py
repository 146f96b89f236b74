import numpy as np
import pytest
import torch

from jetprop.manifolds import r_sequence


@pytest.mark.parametrize("dimension", [1, 2, 6])
def test_it_is_roberts_sequence(dimension):
    g = max(r.real for r in np.roots([1, *[0] * (dimension - 1), -1, -1]) if abs(r.imag) < 1e-12)
    x = r_sequence(50, dimension)
    for k in (1, 17, 50):
        expected = [(0.5 + k * g**-j) % 1 for j in range(1, dimension + 1)]
        torch.testing.assert_close(x[k - 1], torch.tensor(expected, dtype=torch.float64), atol=1e-12, rtol=0)


def test_a_start_is_a_slice():
    whole = r_sequence(1000, 6)
    assert torch.equal(r_sequence(10, 6, start=990), whole[990:])
    assert whole.min() >= 0 and whole.max() < 1


def test_it_covers_the_cube_more_evenly_than_chance():
    x = r_sequence(4096, 6)
    occupied = ((x * 2).long() * 2 ** torch.arange(6)).sum(1).bincount(minlength=64).double()
    assert occupied.std() < 6  # 8 for independent points
    torch.testing.assert_close(x.mean(0), torch.full((6,), 0.5, dtype=torch.float64), atol=1e-3, rtol=0)


@pytest.mark.parametrize("arguments", [(0, 6), (-1, 6), (2.0, 6), (True, 6), (5, 0), (5, 6, -1)])
def test_bad_counts_are_refused(arguments):
    with pytest.raises(ValueError, match="is an integer ≥"):
        r_sequence(*arguments)
