"""Random directions: a few derivatives that stand for all of them, without bias."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from math import factorial
from typing import Literal

import torch
from torch import Tensor

from jetprop.jets import Basis, Jet
from jetprop.jets.basis import Trace

__all__ = ["Law", "RandomDirections", "along"]

Law = Literal["gaussian", "rademacher"]
"""How the coordinates of random directions are distributed; both have mean 0 and variance 1."""


@dataclass(frozen=True, eq=False)
class RandomDirections:
    """Random directions in coordinates scaled by 1/n_i, whose first-order cost has the expectation E1.

    A direction is v = (ξ_1/n_1, …, ξ_D/n_D) with independent ξ_i of mean 0 and variance 1. With D_i = ∂(N − C)/∂ν_i,

        E‖∂_v(N − C)‖² = E‖Σ_i ξ_i D_i / n_i‖² = Σ_ij E[ξ_i ξ_j] D_i · D_j / (n_i n_j) = Σ_i ‖D_i‖² / n_i² = E1,

    because E[ξ_i ξ_j] = δ_ij. So the mean over K such directions estimates E1, and its gradient that of E1, without
    bias for any K, with 1 + K rows instead of 1 + D. Rademacher signs (ξ = ±1) have the smaller variance: of the terms
    with i ≠ j only.

    Second derivatives along v make a cost of their own, which is not E2: for Gaussian ξ the expectation is
    2 Σ_ij ‖D_ij‖²/(n_i n_j)² + ‖Σ_i D_ii/n_i²‖².

    Args:
        first: the normalizers n_i of the first derivatives, `[D]`, > 0.
        count: K ≥ 1, how many directions are drawn for each sample.
        law: "gaussian" or "rademacher".

    Raises:
        ValueError: a normalizer is not positive, the count is below 1, or the law is unknown.

    Source:
        avrutskiy2023, section 3.2, for E1; the estimator is this library's.

    Example:
        >>> import torch
        >>> from jetprop import Jet
        >>> from jetprop.objectives import RandomDirections, along
        >>> x = Jet.seed(torch.zeros(4, 3))
        >>> draw = RandomDirections(torch.tensor([1.0, 2.0, 4.0]), count=1, law="rademacher")
        >>> along(x, draw.sample(4, torch.Generator().manual_seed(0))).first.abs()[0, 0]
        tensor([1.0000, 0.5000, 0.2500])
    """

    first: Tensor
    count: int
    law: Law = "gaussian"

    def __post_init__(self) -> None:
        first = torch.as_tensor(self.first, dtype=torch.float64)
        object.__setattr__(self, "first", first)
        if first.dim() != 1 or len(first) == 0 or not bool(((first > 0) & first.isfinite()).all()):
            raise ValueError(f"random directions need positive normalizers n_i, [D] with D ≥ 1, got {first.tolist()}")
        if isinstance(self.count, bool) or not isinstance(self.count, int) or self.count < 1:
            raise ValueError(f"the count of random directions is an integer ≥ 1, got {self.count!r}")
        if self.law not in ("gaussian", "rademacher"):
            raise ValueError(f'directions are "gaussian" or "rademacher", got {self.law!r}')

    @classmethod
    def of(cls, basis: Basis, normalizers: Tensor, count: int, law: Law = "gaussian") -> RandomDirections:
        """From the normalizers `[R]` of a basis that carries first derivatives."""
        if basis.order < 1:
            raise ValueError(f"random directions replace first derivatives, but {basis!r} carries none")
        if normalizers.shape != (len(basis),):
            raise ValueError(f"normalizers have shape {tuple(normalizers.shape)}, expected ({len(basis)},)")
        return cls(normalizers[list(basis.rows_of_order(1))], count, law)

    def sample(
        self, batch: int, generator: torch.Generator | None = None, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Directions for each sample, `[batch, K, D]`, on the CPU; a state of the generator always makes the same."""
        shape = (batch, self.count, len(self.first))
        if self.law == "gaussian":
            xi = torch.randn(shape, generator=generator, dtype=torch.float64)
        else:
            xi = torch.randint(0, 2, shape, generator=generator).to(torch.float64) * 2 - 1
        return (xi / self.first).to(dtype)

    def basis(self, order: int) -> Basis:
        """The rows of jets along the K directions: no mixed terms."""
        return _lines(self.count, order)

    def normalizers(self, value: float, order: int) -> Tensor:
        """N for `match`: `value` for the value row, √K for all others, so that E1 is the mean over the directions."""
        n = torch.full((len(self.basis(order)),), self.count**0.5, dtype=torch.float64)
        n[0] = value
        return n


def along(jet: Jet, directions: Tensor) -> Jet:
    """The jet along straight lines ν = t v through its point, contracted from the rows that it holds.

        ∂ᵏ/∂tᵏ = Σ_(i1 … ik) v_i1 … v_ik ∂ᵏ/∂ν_i1 … ∂ν_ik

    Differentiable in the rows; directions are constants.

    Args:
        jet: over a full basis of D directions, any order.
        directions: `[K, D]`, the same for all samples, or `[batch, K, D]`.

    Returns:
        Rows for `Basis.directional(K, order)`, the order that of the jet.

    Raises:
        ValueError: the basis is not full, or the directions do not fit it.

    Example:
        >>> import torch
        >>> from jetprop import Jet
        >>> from jetprop.objectives import along
        >>> x = Jet.seed(torch.tensor([[3.0, 5.0]]), order=2)
        >>> along(x.prod(-1), torch.tensor([[1.0, 1.0]])).rows[:, 0]        # (3 + t)(5 + t)
        tensor([15., 8., 2.])
    """
    basis, rows = jet.basis, jet.rows
    size = len(basis.directions)
    if not _is_full(basis):
        raise ValueError(f"contraction needs all derivatives up to the order, a full basis; got {basis!r}")
    per_sample = directions.dim() == 3
    if (
        directions.dim() not in (2, 3)
        or directions.shape[-1] != size
        or (per_sample and len(directions) != rows.shape[1])
    ):
        raise ValueError(
            f"directions of shape {tuple(directions.shape)} do not fit a jet of {size} directions and batch "
            f"{rows.shape[1]}: expected [K, {size}] or [{rows.shape[1]}, K, {size}]"
        )
    v = directions.to(rows).movedim(-2, 0)  # [K, D] or [K, batch, D]
    out = [rows[:1]]
    for order in range(1, basis.order + 1):
        found = basis.rows_of_order(order)
        powers, counts = _monomials(basis, order)
        weight = v.new_tensor(counts) * torch.stack([v[..., list(p)].prod(-1) for p in powers], -1)
        part = rows[found[0] : found[-1] + 1]
        shaped = part.reshape(*part.shape[:2], -1)
        contracted = torch.einsum("kbr,rbp->kbp" if per_sample else "kr,rbp->kbp", weight, shaped)
        out.append(contracted.reshape(len(v), *part.shape[1:]))
    return Jet._of(torch.cat(out), _lines(len(v), basis.order))


@lru_cache(maxsize=64)
def _is_full(basis: Basis) -> bool:
    return not any(isinstance(label, Trace) for label in basis) and basis == Basis.full(basis.directions, basis.order)


@lru_cache(maxsize=64)
def _lines(count: int, order: int) -> Basis:
    return Basis.directional(count, order)


@lru_cache(maxsize=64)
def _monomials(basis: Basis, order: int) -> tuple[list[tuple[int, ...]], list[float]]:
    """For each row of this order, which coordinates of v it is multiplied by, and how often it occurs in the sum."""
    place = {direction: i for i, direction in enumerate(basis.directions)}
    powers: list[tuple[int, ...]] = []
    counts: list[float] = []
    for row in basis.rows_of_order(order):
        label = basis[row]
        assert not isinstance(label, Trace)
        powers.append(tuple(place[d] for d in label))
        repeats = 1
        for times in Counter(label).values():
            repeats *= factorial(times)
        counts.append(factorial(order) / repeats)
    return powers, counts
