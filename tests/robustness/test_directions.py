"""(20) and (21)."""

from __future__ import annotations

import pytest
import torch

from jetprop.robustness import invariance_direction, sensitivity_direction


def test_one_function_stays_and_the_other_moves() -> None:
    n, o = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64)
    for direction, still, moved in ((invariance_direction, n, o), (sensitivity_direction, o, n)):
        d = direction(n, o)
        assert (d * still).sum((2, 3)).abs().max() < 1e-13
        torch.testing.assert_close((d * moved).sum((2, 3)), d.square().sum((2, 3)))
        # The steepest of all directions along which one stays: what is taken off is parallel to its gradient.
        factor = (moved - d) / still
        torch.testing.assert_close(factor, factor[..., :1, :1].expand_as(factor), rtol=1e-9, atol=0)


def test_both_vanish_for_equal_gradients_and_keep_what_has_no_counterpart() -> None:
    n = torch.randn(2, 3, 8, dtype=torch.float64)
    for direction in (invariance_direction, sensitivity_direction):
        assert direction(n, n).abs().max() < 1e-14
    zero = torch.zeros_like(n)
    torch.testing.assert_close(invariance_direction(zero, n), n)
    torch.testing.assert_close(sensitivity_direction(n, zero), n)
    assert not sensitivity_direction(zero, n).any()


def test_tiny_gradients_count_as_well_as_large_ones() -> None:
    n, o = torch.randn(2, 2, 3, 8)
    torch.testing.assert_close(invariance_direction(1e-15 * n, o), invariance_direction(n, o))


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"got \[2, 3, 8\] and \[2, 4, 8\]"):
        invariance_direction(torch.zeros(2, 3, 8), torch.zeros(2, 4, 8))
    with pytest.raises(ValueError, match="both"):
        sensitivity_direction(torch.zeros(2, 3), torch.zeros(2, 3))
