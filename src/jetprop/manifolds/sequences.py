"""Low-discrepancy sequences: points that cover the unit cube evenly, and reproducibly without a seed."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["r_sequence"]

FIXED_POINT_STEPS = 60
"""g → (1 + g)^(1/(d + 1)) contracts by at least 3 a step, so this is far more than double precision needs."""


def r_sequence(n: int, dimension: int, start: int = 0, device: torch.device | str | None = None) -> Tensor:
    """Points of Roberts' R_d sequence: x_kj = frac(1/2 + k α_j), α_j = g⁻ʲ, g > 0 the root of g^(d+1) = g + 1.

    Args:
        n: how many points, ≥ 1.
        dimension: d ≥ 1.
        start: how many points to skip; `start=0` begins at k = 1. Point k depends on k alone, so a training set and
            the test set that follows it are slices of one sequence.
        device: where the points are made.

    Returns:
        Tensor `[n, dimension]` in [0, 1), float64 (k α_j loses a digit for every tenfold k).

    Raises:
        ValueError: a count is not a positive integer, or `start` is negative.

    Source:
        avrutskiy2023, section 2.3, which names "Roberts' version of the low-discrepancy Korobov sequence" [37].

    Example:
        >>> from jetprop.manifolds import r_sequence
        >>> bool((r_sequence(3, 6, start=2) == r_sequence(5, 6)[2:]).all())
        True
    """
    check_count("n", n, 1)
    check_count("dimension", dimension, 1)
    check_count("start", start, 0)
    g = 1.5
    for _ in range(FIXED_POINT_STEPS):
        g = (1 + g) ** (1 / (dimension + 1))
    alpha = torch.tensor([g**-j for j in range(1, dimension + 1)], dtype=torch.float64, device=device)
    k = torch.arange(start + 1, start + n + 1, dtype=torch.float64, device=device)
    return torch.frac(0.5 + k[:, None] * alpha)


def check_count(name: str, value: int, least: int) -> None:
    """Refuse anything but an integer ≥ `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} is an integer ≥ {least}, got {value!r}")
