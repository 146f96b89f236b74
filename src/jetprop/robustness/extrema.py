"""The three eigenproblems of the robustness analysis: which small change of an image does most harm.

Gradients of the network and of the oracle are rows, N and O `[batch, A, P]`, P pixels. For a direction D, ‖D‖ = 1:

    maximum      max ‖(N − O) D‖                                                            (25), (27)
    sensitivity  max ‖N D‖  where aᵀ O D = 0, a the leading eigenvectors of G²² = N Nᵀ      (32)
    invariance   max ‖O D‖  where aᵀ N D = 0, a the leading eigenvectors of G¹¹ = O Oᵀ      (34)

The optima lie in the span of the rows. An orthonormal basis Q of the span, in which the matrix (29) is the identity,
turns the constrained problems into ones of 2A unknowns.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

__all__ = ["Constraints", "Kind", "Optimum", "constrained_optimum", "maximum_optimum", "orthonormal_span"]

Kind = Literal["maximum", "sensitivity", "invariance"]
"""The worst direction of all, the worst that leaves the oracle, the worst that leaves the network."""

Constraints = Literal["leading", "all"]
"""Project a constraint on the leading eigenvectors, as (32) and (34) do, or demand it of every output."""

DROPPED = 1e-10
"""Eigenvalues below this part of the largest do not count, in (29) and among the leading eigenvectors."""

DEPENDENT = 1e-12
"""What is smaller than this part of the gradients is rounding."""


class Optimum(NamedTuple):
    """The solution of one problem.

    Args:
        direction: D, `[batch, P]`, of unit norm, or zero where nothing can be gained.
        network: N D, `[batch, A]`, the rate at which the network's outputs change.
        oracle: O D, `[batch, A]`.
    """

    direction: Tensor
    network: Tensor
    oracle: Tensor

    def gain(self, kind: Kind) -> Tensor:
        """The root of what was maximised, `[batch]`."""
        change = {"maximum": self.network - self.oracle, "sensitivity": self.network, "invariance": self.oracle}
        return torch.linalg.vector_norm(change[kind], dim=-1)


def maximum_optimum(network: Tensor, oracle: Tensor) -> Optimum:
    """The optimal attack: D = μᵀ(N − O) with μ the eigenvector of (27) of the largest eigenvalue."""
    difference = network - oracle
    _, vectors = torch.linalg.eigh(difference @ difference.mT)
    return _at((vectors[..., -1:].mT @ difference).squeeze(1), network, oracle)


def constrained_optimum(
    network: Tensor, oracle: Tensor, span: Tensor, kind: Kind, leading: int, constraints: Constraints
) -> Optimum:
    """The sensitivity problem (32) or the invariance problem (34).

    Args:
        network: N, `[batch, A, P]`, float64.
        oracle: O, the same shape.
        span: what `orthonormal_span` gives.
        kind: "sensitivity" or "invariance".
        leading: how many eigenvectors carry the constraints, the paper's 6; those with an eigenvalue below `DROPPED`
            are left out, since which they are is chance.
        constraints: "leading", or "all" for O D = 0 (N D = 0) of every output.
    """
    moved, still = (network, oracle) if kind == "sensitivity" else (oracle, network)
    gain, barred = moved @ span.mT, still @ span.mT  # in the basis Q
    size = torch.linalg.matrix_norm(barred)[:, None]
    if constraints == "leading":
        eigenvalues, vectors = torch.linalg.eigh(moved @ moved.mT)
        counts = eigenvalues > DROPPED * eigenvalues[:, -1:]
        barred = (vectors * counts[:, None]).mT[:, -leading:] @ barred
    _, singular, rows = torch.linalg.svd(barred, full_matrices=False)
    # As in (29): nine gradients of rank six, made in float32, would else be nine constraints, three of them rounding.
    rows = rows * (singular > DROPPED**0.5 * size)[..., None]

    def feasible(w: Tensor) -> Tensor:
        return w - (w @ rows.mT) @ rows

    free = feasible(gain)
    _, vectors = torch.linalg.eigh(free @ free.mT)
    best = feasible(vectors[..., -1:].mT @ free)
    # What is left by rounding alone is no direction: the feasible set then holds nothing that changes the output.
    something = torch.linalg.vector_norm(best, dim=-1, keepdim=True) > DEPENDENT * torch.linalg.matrix_norm(
        gain, keepdim=True
    )
    best = feasible(_unit(best) * something)
    return _at((best @ span).squeeze(1), network, oracle)


def orthonormal_span(network: Tensor, oracle: Tensor) -> tuple[Tensor, Tensor]:
    """An orthonormal basis of the span of all gradients, in which the matrix (29) is the identity.

    Returns:
        Q, `[batch, 2A, P]`, its rows orthonormal or, where (29) lacks rank, zero; and the rank, `[batch]`.
    """
    # Each by its own size: beside a network's gradients a million times as large the oracle's would be dropped.
    sizes = (torch.linalg.matrix_norm(g, keepdim=True) for g in (oracle, network))
    rows = torch.cat([g / size.where(size > 0, 1) for g, size in zip((oracle, network), sizes, strict=True)], dim=1)
    values, vectors = torch.linalg.eigh(rows @ rows.mT)  # (29)
    kept = (values > DROPPED * values[:, -1:]) & (values > 0)
    scale = torch.where(kept, values.clamp_min(torch.finfo(values.dtype).tiny).rsqrt(), 0)
    span = (vectors * scale[:, None]).mT @ rows
    # The smallest eigenvalues kept are known to six digits only; orthonormalising once more gives all sixteen.
    dropped = torch.diag_embed((~kept).to(values))
    lower = torch.linalg.cholesky(span @ span.mT + dropped)
    return torch.linalg.inv(lower) @ span, kept.sum(1)


def _at(direction: Tensor, network: Tensor, oracle: Tensor) -> Optimum:
    direction = _unit(direction)
    return Optimum(direction, *((g @ direction[..., None]).squeeze(-1) for g in (network, oracle)))


def _unit(x: Tensor) -> Tensor:
    """Divided by the norm along the last axis; zero stays zero."""
    return torch.nn.functional.normalize(x, dim=-1, eps=torch.finfo(x.dtype).tiny)
