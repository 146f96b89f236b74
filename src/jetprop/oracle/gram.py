"""The Gram matrix of tangent vectors, its condition, and an inverse that never hides a bad one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from jetprop.jets.basis import Basis

__all__ = ["LIMIT", "Gram", "symmetric"]

LIMIT = 1e3
"""The condition from which a Gram matrix counts as nearly singular. At 1000 some joint motion moves the image about 30
times less than its parts do, and noise moves the oracle along it 30 times more. The training poses of avrutskiy2023
stay below 110, a cube seen face-on has about 10⁴."""


@dataclass(frozen=True, eq=False)
class Gram:
    """The matrices of the oracle's equations for a batch, with what can be said about solving them.

    Lengths of tangents depend on units (radians against lengths), so nothing here is judged by Γ itself: with
    s_i = Γ_ii^(-1/2) the matrix s_i M_ij s_j does not change when a degree of freedom is measured in other units. Its
    eigenvalues decide what is singular, and its pseudo-inverse is what is taken where it is.

    Args:
        matrix: Γ_ij = ∂𝓘/∂ν_i · ∂𝓘/∂ν_j, `[batch, d, d]`, float64.
        system: M, the matrix to be inverted, `[batch, d, d]`: Γ itself, or Γ less its curvature term.
        limit: the largest condition that is inverted without truncation, > 1.
    """

    matrix: Tensor
    system: Tensor
    limit: float = LIMIT

    @cached_property
    def scale(self) -> Tensor:
        """s_i = 1/‖∂𝓘/∂ν_i‖, `[batch, d]`; 0 for a degree of freedom that does not change the image."""
        square = self.matrix.diagonal(dim1=1, dim2=2)
        return torch.where(square > 0, square.clamp_min(torch.finfo(square.dtype).tiny).rsqrt(), 0.0)

    @cached_property
    def condition(self) -> Tensor:
        """λ_max/λ_min of s_i M_ij s_j, `[batch]` ≥ 1, free of units; infinite where λ_min ≤ 0."""
        return _ratio(self._spectrum[0])

    @cached_property
    def raw_condition(self) -> Tensor:
        """λ_max/λ_min of M itself, `[batch]`, in the units in which the degrees of freedom happen to be measured."""
        return _ratio(torch.linalg.eigvalsh(self.system.detach()))

    @cached_property
    def singular(self) -> Tensor:
        """Where the condition exceeds the limit, `[batch]`, bool."""
        return ~(self.condition <= self.limit)

    @cached_property
    def inverse(self) -> Tensor:
        """M⁻¹, `[batch, d, d]`; where singular, the pseudo-inverse without the eigenvalues below λ_max/limit.

        Differentiable as often as wanted, but for singular samples, whose pseudo-inverse is a constant.
        """
        scale = self.scale
        normalised = scale[:, :, None] * self.system * scale[:, None]
        regular = torch.where(self.singular[:, None, None], torch.eye(scale.shape[1]).to(scale), normalised)
        inverse = torch.linalg.inv_ex(regular).inverse
        inverse = torch.where(self.singular[:, None, None], self._truncated, inverse)
        return scale[:, :, None] * inverse * scale[:, None]

    @cached_property
    def _spectrum(self) -> tuple[Tensor, Tensor]:
        scale, system = self.scale.detach(), self.system.detach()
        return torch.linalg.eigh(scale[:, :, None] * system * scale[:, None])

    @property
    def _truncated(self) -> Tensor:
        values, vectors = self._spectrum
        kept = (values > values[:, -1:] / self.limit) & (values > 0)
        inverse = torch.where(kept, 1 / values.where(kept, 1.0), 0.0)
        return (vectors * inverse[:, None]) @ vectors.mT


def symmetric(pairs: Tensor, basis: Basis) -> Tensor:
    """`[batch, d(d+1)/2, …]`, a row for each second derivative of `Basis.full(d, 2)`, as `[batch, d, d, …]`."""
    axis = basis.directions
    index = [[basis.row(i, j) - 1 - len(axis) for j in axis] for i in axis]
    return pairs[:, torch.tensor(index, device=pairs.device)]


def _ratio(ascending: Tensor) -> Tensor:
    least = ascending[:, 0]
    return torch.where(least > 0, ascending[:, -1] / least.where(least > 0, 1.0), torch.inf)
