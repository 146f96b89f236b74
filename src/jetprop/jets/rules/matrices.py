"""Parts of matrices: triangles, diagonals, traces. Linear, along the value's axes."""

from __future__ import annotations

import torch
from torch import Tensor

from jetprop.jets.dispatch import rule
from jetprop.jets.jet import Jet
from jetprop.jets.rules.operands import axis, common_basis, is_jet, jet_of

__all__: list[str] = []


def _check_matrix(name: str, x: Jet) -> None:
    if x.dim() < 2:
        raise ValueError(f"{name}: expected a value with at least two axes, got shape {tuple(x.shape)}")


@rule("tril", "linear")
def tril(x: Jet, diagonal: int = 0) -> Jet:
    """The lower triangle, 0 above it."""
    _check_matrix("tril", x)
    return Jet._of(x.rows.tril(diagonal), x.basis)


@rule("triu", "linear")
def triu(x: Jet, diagonal: int = 0) -> Jet:
    """The upper triangle, 0 below it."""
    _check_matrix("triu", x)
    return Jet._of(x.rows.triu(diagonal), x.basis)


@rule("trace", "linear")
def trace(x: Jet) -> Jet:
    """The sum of the diagonal of a matrix."""
    if x.dim() != 2:
        raise ValueError(f"trace: expected a matrix, got shape {tuple(x.shape)}")
    return Jet._of(x.rows.diagonal(0, 1, 2).sum(-1), x.basis)


@rule("diag", "selection")
def diag(x: Jet, diagonal: int = 0) -> Jet:
    """The matrix with a vector on its diagonal, or the diagonal of a matrix."""
    if x.dim() not in (1, 2):
        raise ValueError(f"diag: expected a vector or a matrix, got shape {tuple(x.shape)}")
    rows = torch.diag_embed(x.rows, diagonal) if x.dim() == 1 else x.rows.diagonal(diagonal, 1, 2).clone()
    return Jet._of(rows, x.basis)


@rule("diagflat", "selection")
def diagflat(x: Jet, offset: int = 0) -> Jet:
    """The matrix with all entries on its diagonal."""
    return diag(x.reshape(-1), offset)


@rule("diag_embed", "selection")
def diag_embed(x: Jet, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Jet:
    """Matrices with the last axis on their diagonals."""
    places = (axis(dim, x.dim() + 1) for dim in (dim1, dim2))
    return Jet._of(torch.diag_embed(x.rows, offset, *places), x.basis)


@rule("diagonal_scatter", "selection")
def diagonal_scatter(x: Jet | Tensor, src: Jet | Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Jet:
    """A copy with another diagonal."""
    basis, like = common_basis(x, src), x if is_jet(x) else src
    assert is_jet(like)
    places = (axis(dim, x.dim()) for dim in (dim1, dim2))
    return Jet._of(torch.diagonal_scatter(jet_of(x, like).rows, jet_of(src, like).rows, offset, *places), basis)
