"""The second-order part of the Leibniz rule as a short list of pairs of first-order rows.

Second-order geometry is quadratic in the velocities: row r of a quantity that depends on them through a symmetric
bilinear form B has the term ½ Σ_{s,t ≠ 0} c^r_st B(V_s, V_t), c the Leibniz table of the basis. `Pairs` lists each
unordered pair once, so that a caller computes B for all pairs in one vectorised pass and then sums them into rows.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from jetprop.jets.basis import Basis

__all__ = ["Pairs", "pairs_of"]


@dataclass(frozen=True)
class Pairs:
    """½ Σ_{s,t ≠ 0} c^r_st B(V_s, V_t) = Σ_p `weight[r, p]` B(V_left[p], V_right[p]) for a symmetric B.

    Args:
        first: number of first-order rows; they are rows 1 … `first` of the basis.
        second: number of second-order rows, the ones after.
        left: for each pair, the position of s among the first-order rows (0 is row 1).
        right: likewise t.
        weights: triples (second-order row, pair, weight); the row counted from 0 among the second-order rows.
    """

    first: int
    second: int
    left: tuple[int, ...]
    right: tuple[int, ...]
    weights: tuple[tuple[int, int, float], ...]

    def take(self, first_rows: Tensor) -> tuple[Tensor, Tensor]:
        """The left and right members of every pair: `[first, …]` → two of `[pairs, …]`."""
        left = torch.tensor(self.left, device=first_rows.device)
        right = torch.tensor(self.right, device=first_rows.device)
        return first_rows.index_select(0, left), first_rows.index_select(0, right)

    def sum(self, products: Tensor) -> Tensor:
        """Σ_p weight[r, p] products[p]: `[pairs, …]` → `[second, …]`."""
        aligned = all(row == pair and weight == 1 for row, pair, weight in self.weights)
        if aligned and len(self.left) == self.second:
            return products  # full and directional bases: one pair a row, in order
        table = products.new_zeros(self.second, len(self.left))
        for row, pair, weight in self.weights:
            table[row, pair] = weight
        return torch.tensordot(table, products, dims=1)


@cache
def pairs_of(basis: Basis) -> Pairs:
    """The pairs of a basis.

    Raises:
        ValueError: the basis has rows of order 3 or more.
    """
    if basis.order > 2:
        raise ValueError(
            f"images and motions are differentiated in closed form up to order 2, got a basis of order {basis.order} "
            f"({basis!r}); pass basis.truncated(2)"
        )
    first, second = len(basis.rows_of_order(1)), len(basis.rows_of_order(2))
    found: defaultdict[tuple[int, int, int], float] = defaultdict(float)
    for row, left, right, factor in basis.terms:
        if left and right:
            found[row - 1 - first, min(left, right) - 1, max(left, right) - 1] += factor / 2
    members = list(dict.fromkeys((s, t) for _, s, t in found))
    weights = tuple((row, members.index((s, t)), weight) for (row, s, t), weight in found.items())
    return Pairs(first, second, tuple(s for s, _ in members), tuple(t for _, t in members), weights)
