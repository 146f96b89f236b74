"""Random directions: a few derivatives that stand for all of them, without bias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from jetprop.jets import Basis, Jet
from jetprop.jets.directions import lines

__all__ = ["Law", "RandomDirections"]

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
        >>> from jetprop.jets import along
        >>> from jetprop.objectives import RandomDirections
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
        return lines(self.count, order)

    def normalizers(self, value: float, order: int) -> Tensor:
        """N for `match`: `value` for the value row, √K for all others, so that E1 is the mean over the directions."""
        n = torch.full((len(self.basis(order)),), self.count**0.5, dtype=torch.float64)
        n[0] = value
        return n

    def laplacian(self, jet: Jet) -> Tensor:
        """An unbiased estimate of Σ_i ∂²/∂ν_i² / n_i² from a jet along the directions: the mean of its last rows.

        With S the matrix of second derivatives of one output, each entry divided by n_i n_j, and K directions, the
        variance is 2/K · (‖S‖² − Σ_i S_ii²) for signs and 2/K · ‖S‖² for Gaussians (Frobenius norms). A cost quadratic
        in this estimate is biased by its variance; the product of the estimates of two draws is not.

        Args:
            jet: over `basis(2)`, seeded along `sample`.

        Returns:
            The shape of the jet's value.

        Source:
            Hutchinson, A stochastic estimator of the trace of the influence matrix, 1989.

        Example:
            >>> import torch
            >>> from jetprop import Jet
            >>> from jetprop.objectives import RandomDirections
            >>> draw = RandomDirections(torch.ones(3), count=2, law="rademacher")
            >>> x = Jet.seed(torch.zeros(1, 3), draw.sample(1)[0].unsqueeze(1), basis=draw.basis(2))
            >>> draw.laplacian((x**2).sum(-1))
            tensor([6.])
        """
        if jet.basis != self.basis(2):
            raise ValueError(
                f"expected a jet over {self.basis(2)!r}, along the {self.count} directions; got {jet.basis!r}"
            )
        return jet.rows[[jet.basis.row(k, k) for k in range(self.count)]].mean(0)
